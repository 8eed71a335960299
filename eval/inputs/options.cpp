#include "eval/inputs/options.h"

#include <algorithm>

namespace quantref {

bool RunOptions::Wants(const std::string& method) const {
  // Who names one on the command line wants it, too.
  const bool named = std::any_of(candidates.begin(), candidates.end(),
                                 [&](const std::string& c) { return c.starts_with(method + "="); });
  return named || methods.empty() ||
         std::find(methods.begin(), methods.end(), method) != methods.end();
}

}  // namespace quantref
