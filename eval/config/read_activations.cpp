#include "eval/config/read_activations.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "eval/config/read_quantize.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

// `outlier_threshold: T` or `none`, and what outliers are multiplied with.
void ReadOutliers(YamlReader& section, ActivationScheme& scheme) {
  constexpr double kMostThreshold = 1e6;
  const std::vector<std::string> kinds = {"fp16", "int8"};
  if (section.Has("outlier_threshold")) {
    const char* expected = "a number above 0, at most 1e6, or 'none'";
    if (section.Scalar("outlier_threshold", expected) == "none") {
      scheme.outliers.reset();
    } else {
      OutlierRule rule = scheme.outliers.value_or(OutlierRule{});
      section.Set("outlier_threshold", rule.threshold);
      if (!(rule.threshold > 0 && rule.threshold <= kMostThreshold))
        section.Fail("outlier_threshold", expected);
      scheme.outliers = rule;
    }
  }
  if (!section.Has("outlier_weights")) return;
  const std::string weights = section.Choice("outlier_weights", kinds, "");
  if (!scheme.outliers) section.Fail("outlier_weights", "an outlier_threshold beside it");
  scheme.outliers->weights =
      weights == "int8" ? OutlierRule::Weights::kInt8 : OutlierRule::Weights::kFp16;
}

// Another format has its own bits and reach, until the config says otherwise.
void ReadActivationFormat(YamlReader& section, ActivationScheme& scheme) {
  if (!section.Has("format")) return;
  std::vector<std::string> names;
  for (const NumberFormat* format : ActivationFormats()) names.emplace_back(format->name);
  const NumberFormat* format = FindFormat(section.Choice("format", names, ""));
  if (format == scheme.format) return;
  scheme.format = format;
  scheme.bits = format->bits() > 0 ? format->bits() : ActivationScheme{}.bits;
  scheme.group = format->fixed_group ? format->group : 0;
}

// `granularity: token|tensor|group`, and `group: N`, which implies the last.
void ReadActivationReach(YamlReader& section, ActivationScheme& scheme) {
  const std::string before = scheme.group > 0 ? "group" : scheme.per_token ? "token" : "tensor";
  std::string otherwise = before == "token" && !scheme.dynamic ? "tensor" : before;
  if (section.Has("group")) otherwise = "group";
  const std::string reach = section.Choice("granularity", {"token", "tensor", "group"}, otherwise);
  scheme.per_token = reach != "tensor";
  size_t group = scheme.group > 0 ? scheme.group : scheme.format->group;
  if (reach == "group") {
    section.Set("group", group, kLeastActivationGroup, kMostGroup);
    if (!scheme.dynamic)
      section.Fail(section.Has("group") ? "group" : "granularity",
                   "one scale for the window, as dynamic is false",
                   "scales of a token are known only when the token is");
  } else if (section.Has("group")) {
    section.Fail("group", fmt::format("no group size beside granularity: {}", reach));
  }
  scheme.group = reach == "group" ? group : 0;
  if (scheme.format->fixed_group && scheme.group != scheme.format->group)
    section.Fail(section.Has("group") ? "group" : "granularity",
                 fmt::format("groups of {}, for which {} is defined", scheme.format->group,
                             scheme.format->name));
}

}  // namespace

std::optional<ActivationScheme> ReadActivations(YamlReader& yaml,
                                                std::optional<ActivationScheme> activations) {
  if (!yaml.Has("activations")) return activations;
  if (!yaml.IsMap("activations")) {
    yaml.Choice("activations", {"none"}, "none");
    return std::nullopt;
  }
  ActivationScheme scheme = activations.value_or(ActivationScheme{});
  YamlReader section = yaml.Map("activations");
  ReadActivationFormat(section, scheme);
  const int own = scheme.format->bits();
  section.Set("bits", scheme.bits, own > 0 ? own : kMinBits, own > 0 ? own : kMaxBits);
  section.Set("dynamic", scheme.dynamic);
  ReadActivationReach(section, scheme);
  ReadOutliers(section, scheme);
  section.RefuseUnknownKeys();
  if (scheme.format != &kIntFormat && !(scheme.per_token && scheme.dynamic))
    section.Fail("format", "int, as scales are not those of single tokens",
                 "other formats are granularity: token or group, dynamic: true");
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
