#include "eval/record/scheme_text.h"

#include <algorithm>
#include <vector>

namespace quantref {

bool IsSchemeOfSome(const RecordFields& fields) {
  // Of bits that a budget chose, and of what is known to be mixed, it has what all have in common.
  if (!fields.Has("scheme.bits") || fields.TextOr("scheme.name", "").ends_with(kMixed))
    return false;
  const std::vector<RecordFields> layers = fields.Maps("layers");
  return std::ranges::any_of(layers, [&](const RecordFields& layer) {
    return layer.TextOr("scheme", "") != layers.front().TextOr("scheme", "");
  });
}

std::string WeightsText(const RecordFields& fields) {
  const std::string name = fields.TextOr("scheme.name", "none");
  return IsSchemeOfSome(fields) ? name + " " + kMixed : name;
}

std::string SchemeText(const RecordFields& fields) {
  std::string scheme = WeightsText(fields);
  for (const char* path : {"activations", "kv_cache.name"}) {
    const std::string rounded = fields.TextOr(path, "none");
    if (rounded != "none") scheme = scheme == "none" ? rounded : scheme + ", " + rounded;
  }
  return scheme;
}

}  // namespace quantref
