#include "eval/config/read_activations.h"

#include <fmt/format.h>

#include <string>

#include "eval/config/key_reader.h"
#include "eval/config/quantize_keys.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

// The threshold, and what outliers are multiplied with.
void TakeOutliers(const ActivationKeys& keys, YamlReader& section, ActivationScheme& scheme) {
  if (keys.outlier_threshold == 0.0) {
    scheme.outliers.reset();
  } else if (keys.outlier_threshold) {
    if (!scheme.outliers) scheme.outliers.emplace();
    scheme.outliers->threshold = *keys.outlier_threshold;
  }
  if (!keys.outlier_weights) return;
  if (!scheme.outliers) section.Fail("outlier_weights", "an outlier_threshold beside it");
  scheme.outliers->weights =
      *keys.outlier_weights == "int8" ? OutlierRule::Weights::kInt8 : OutlierRule::Weights::kFp16;
}

// Another format has its own bits and reach, until the config says otherwise.
void TakeActivationFormat(const ActivationKeys& keys, YamlReader& section,
                          ActivationScheme& scheme) {
  const NumberFormat* const format = keys.format ? FindFormat(*keys.format) : scheme.format;
  const int own = format->bits();
  if (format != scheme.format) {
    scheme.format = format;
    scheme.bits = own > 0 ? own : ActivationScheme{}.bits;
    scheme.group = format->fixed_group ? format->group : 0;
  }
  if (!keys.bits) return;
  scheme.bits = static_cast<int>(*keys.bits);
  if (own > 0 && scheme.bits != own)
    section.Fail("bits", std::to_string(own),
                 fmt::format("codes of {} have as many", format->name));
}

// Formats beside int have scales of single tokens alone.
void CheckTokenScales(const ActivationScheme& scheme, bool of_tokens, YamlReader& section) {
  if (scheme.format != &kIntFormat && !of_tokens)
    section.Fail("format", "int, as scales are not those of single tokens",
                 "other formats are granularity: token or group, dynamic: true");
}

// `granularity: token|tensor|group`, and `group: N`, which implies the last.
void TakeActivationReach(const ActivationKeys& keys, YamlReader& section,
                         ActivationScheme& scheme) {
  const std::string before = ReachOf(scheme);
  std::string otherwise = before == "token" && !scheme.dynamic ? "tensor" : before;
  if (keys.group) otherwise = "group";
  const std::string reach = keys.granularity.value_or(otherwise);
  const char* const key = keys.group ? "group" : "granularity";
  scheme.per_token = reach != "tensor";
  if (reach == "group" && !scheme.dynamic)
    section.Fail(key, "one scale for the window, as dynamic is false",
                 "scales of a token are known only when the token is");
  if (reach != "group" && keys.group)
    section.Fail("group", fmt::format("no group size beside granularity: {}", reach));
  const size_t group = scheme.group > 0 ? scheme.group : scheme.format->group;
  scheme.group = reach == "group" ? keys.group.value_or(group) : 0;
  if (scheme.format->fixed_group && scheme.group != scheme.format->group)
    section.Fail(key, fmt::format("groups of {}, for which {} is defined", scheme.format->group,
                                  scheme.format->name));
}

}  // namespace

std::optional<ActivationScheme> ReadActivations(YamlReader& yaml,
                                                std::optional<ActivationScheme> activations) {
  if (!yaml.Has("activations")) return activations;
  std::optional<ActivationKeys> keys;
  KeyReader reader(yaml);
  VisitActivations(reader, keys);
  if (!keys) return std::nullopt;
  ActivationScheme scheme = activations.value_or(ActivationScheme{});
  YamlReader section = yaml.Map("activations");
  TakeActivationFormat(*keys, section, scheme);
  scheme.dynamic = keys->dynamic.value_or(scheme.dynamic);
  CheckTokenScales(scheme, scheme.dynamic, section);  // before groups, which some formats imply
  TakeActivationReach(*keys, section, scheme);
  CheckTokenScales(scheme, scheme.per_token, section);
  TakeOutliers(*keys, section, scheme);
  if (scheme.outliers && (scheme.format != &kIntFormat || scheme.group > 0))
    section.Fail("outlier_threshold", "none, as tokens have no integers under one scale");
  if (scheme.outliers && !(scheme.per_token && scheme.dynamic))
    section.Fail("outlier_threshold", "none, as scales are not those of single tokens",
                 "LLM.int8() is granularity: token, dynamic: true");
  if (scheme.per_token && !scheme.dynamic)
    section.Fail("granularity", "tensor, as dynamic is false",
                 "a scale of a token is known only when the token is");
  return scheme;
}

}  // namespace quantref
