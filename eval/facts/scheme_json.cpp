#include "eval/facts/scheme_json.h"

#include <nlohmann/json.hpp>

#include "eval/record/scheme_text.h"
#include "harness/quant/format.h"

namespace quantref {

RecordJson SchemeJson(const WeightScheme& scheme) {
  RecordJson json = {{"name", SchemeName(scheme)},
                     {"bits", scheme.bits},
                     {"granularity", GranularityName(scheme.granularity)},
                     {"symmetric", !scheme.HasZeros()}};
  if (scheme.format != &kIntFormat) json["format"] = scheme.format->name;
  if (scheme.granularity == Granularity::kGroup) json["group"] = scheme.group;
  if (scheme.format != &kIntFormat) json["scales"] = ScaleTypeName(scheme.scale_type());
  if (scheme.double_quant) json["double_quant"] = true;
  if (!scheme.format->affine()) return json;
  if (scheme.symmetric) json["full_range"] = scheme.full_range;
  if (!scheme.symmetric) json["zero_in_range"] = scheme.zero_in_range;
  return json;
}

RecordJson CommonScheme(const RecordJson& a, const RecordJson& b) {
  RecordJson common = RecordJson::object();
  for (const auto& [key, value] : a.items())
    if (b.contains(key) && b[key] == value) common[key] = value;
  if (a["granularity"] != b["granularity"]) common["granularity"] = kMixed;
  if (a.value("format", "int") != b.value("format", "int")) common["format"] = kMixed;
  return common;
}

}  // namespace quantref
