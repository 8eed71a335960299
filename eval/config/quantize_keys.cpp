#include "eval/config/quantize_keys.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "eval/support/yaml_reader.h"
#include "harness/base/check.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

constexpr double kMostBudgetSamples = 1 << 20;

std::vector<std::string> NamesOf(std::span<const NumberFormat* const> formats) {
  std::vector<std::string> names;
  for (const NumberFormat* format : formats) names.emplace_back(format->name);
  return names;
}

std::vector<std::string> GranularityNames() {
  std::vector<std::string> names;
  for (const Granularity granularity : kGranularities)
    names.emplace_back(GranularityName(granularity));
  return names;
}

// What a matrix is rounded to, of the section and of what an override matches.
void VisitScheme(KeyVisitor& visitor, SchemeKeys& keys) {
  visitor.Maybe(
      &KeyVisitor::Word,
      {.name = "format", .about = "what codes stand for", .words = NamesOf(NumberFormats())},
      keys.format);
  visitor.Maybe(
      &KeyVisitor::Count,
      {.name = "bits", .about = "of a code", .least = kMinBits, .most = kMaxBits, .unit = "bits"},
      keys.bits);
  visitor.Maybe(
      &KeyVisitor::Word,
      {.name = "granularity", .about = "what one scale holds for", .words = GranularityNames()},
      keys.granularity);
  visitor.Maybe(&KeyVisitor::Count,
                {.name = "group",
                 .about = "inputs that share a scale; row (or 0), column or tensor: one scale for "
                          "each output, input or matrix",
                 .most = kMostGroup,
                 .unit = "inputs",
                 .words = {std::begin(kGroupWords), std::end(kGroupWords)}},
                keys.group);
  visitor.Maybe(&KeyVisitor::Flag,
                {.name = "double_quant",
                 .about = "FP32 scales (nf4, fp4, fp8) become 8-bit codes themselves"},
                keys.double_quant);
  visitor.Maybe(&KeyVisitor::Flag, {.name = "symmetric", .about = "no zero point"}, keys.symmetric);
  visitor.Maybe(&KeyVisitor::Flag,
                {.name = "full_range", .about = "symmetric: use the code -2^(bits-1) too"},
                keys.full_range);
  visitor.Maybe(&KeyVisitor::Flag,
                {.name = "zero_in_range", .about = "asymmetric: the range always contains 0"},
                keys.zero_in_range);
}

void VisitActivationMap(KeyVisitor& visitor, ActivationKeys& keys) {
  visitor.Maybe(
      &KeyVisitor::Word,
      {.name = "format", .about = "what codes stand for", .words = NamesOf(ActivationFormats())},
      keys.format);
  visitor.Maybe(
      &KeyVisitor::Count,
      {.name = "bits", .about = "of a code", .least = kMinBits, .most = kMaxBits, .unit = "bits"},
      keys.bits);
  visitor.Maybe(&KeyVisitor::Word,
                {.name = "granularity",
                 .about = "one scale a token, one for the window, or one for each group of a "
                          "token's inputs",
                 .words = {"token", "tensor", "group"}},
                keys.granularity);
  visitor.Maybe(&KeyVisitor::Count,
                {.name = "group",
                 .about = "inputs of a token that share a scale; implies granularity: group",
                 .least = kLeastActivationGroup,
                 .most = kMostGroup,
                 .unit = "inputs"},
                keys.group);
  visitor.Maybe(&KeyVisitor::Flag,
                {.name = "dynamic", .about = "false: the scale is that of the calibration text"},
                keys.dynamic);
  visitor.Maybe(&KeyVisitor::Number,
                {.name = "outlier_threshold",
                 .about = "LLM.int8(): channels with an |x| as large are multiplied in floating "
                          "point",
                 .most = 1e6,
                 .above_least = true,
                 .words = {"none"}},
                keys.outlier_threshold);
  visitor.Maybe(&KeyVisitor::Word,
                {.name = "outlier_weights",
                 .about = "theirs: the original ones, kept in FP16, or those that the codes stand "
                          "for",
                 .words = {"fp16", "int8"}},
                keys.outlier_weights);
}

void VisitBudgetMap(KeyVisitor& visitor, BudgetSpec& budget) {
  visitor.Number({.name = "bits",
                  .about = "stored a weight on average at most, scales and zero points included",
                  .least = kMinBits,
                  .most = 16,
                  .unit = "bits"},
                 budget.bits);
  visitor.Counts({.name = "choices",
                  .about = "of a code, of which each matrix gets one",
                  .least = kMinBits,
                  .most = kMaxBits,
                  .unit = "bits"},
                 budget.choices);
  visitor.Choice(
      {.name = "rule",
       .about = "by what a matrix loses on calibration windows, the same for all, or drawn"},
      budget.rule,
      {{BudgetRuleName(BudgetRule::kSensitivity), BudgetRule::kSensitivity},
       {BudgetRuleName(BudgetRule::kUniform), BudgetRule::kUniform},
       {BudgetRuleName(BudgetRule::kRandom), BudgetRule::kRandom}});
  visitor.Count(
      {.name = "seed", .about = "which windows; of random, which draw", .most = kMostSeed},
      budget.seed);
  visitor.Count({.name = "samples",
                 .about = "of the calibration text, by which sensitivities are measured",
                 .least = 1,
                 .most = kMostBudgetSamples,
                 .unit = "windows"},
                budget.samples);
  visitor.Count({.name = "length",
                 .about = "of each, cut to the model's context",
                 .least = 2,
                 .most = kMostBudgetSamples,
                 .unit = "tokens"},
                budget.length);
}

void VisitKnob(KeyVisitor& visitor, const Knob& knob, Knobs& knobs) {
  ConfigKey key{.name = std::string(knob.name),
                .about = std::string(knob.about),
                .least = knob.least,
                .most = knob.most};
  if (knob.kind == Knob::Kind::kFlag) {
    bool flag = knobs.Flag(knob.name);
    visitor.Flag(std::move(key), flag);
    knobs.Set(knob.name, flag ? 1 : 0);
  } else if (knob.kind == Knob::Kind::kCount) {
    size_t count = knobs.Count(knob.name);
    visitor.Count(std::move(key), count);
    knobs.Set(knob.name, static_cast<double>(count));
  } else {
    double value = knobs.Real(knob.name);
    visitor.Number(std::move(key), value);
    knobs.Set(knob.name, value);
  }
}

}  // namespace

const char* BudgetRuleName(BudgetRule rule) {
  switch (rule) {
    case BudgetRule::kSensitivity:
      return "sensitivity";
    case BudgetRule::kUniform:
      return "uniform";
    case BudgetRule::kRandom:
      return "random";
  }
  QR_CHECK(false);
  return "";
}

void VisitWeights(KeyVisitor& visitor, std::optional<SchemeKeys>& weights) {
  visitor.MapOrNone(
      {.name = "weights", .about = "a map; none: no matrix is quantized, as for kv_cache alone"},
      weights, VisitScheme);
}

void VisitActivations(KeyVisitor& visitor, std::optional<ActivationKeys>& activations) {
  visitor.MapOrNone({.name = "activations",
                     .about = "a map: inputs of quantized matrices are rounded, symmetrically"},
                    activations, VisitActivationMap);
}

void VisitBudget(KeyVisitor& visitor, std::optional<BudgetSpec>& budget) {
  visitor.MapOrNone(
      {.name = "budget", .about = "a map: the bits of each matrix are chosen under a total"},
      budget, VisitBudgetMap);
}

void VisitKeep(KeyVisitor& visitor, std::vector<std::string>& keep) {
  visitor.Special(
      {.name = "keep",
       .kind = ConfigKey::Kind::kText,
       .about = "globs of matrices that stay as they are",
       .list = true},
      [&](YamlReader& yaml) { yaml.Set("keep", keep); },
      [&](nlohmann::ordered_json& json) { json = keep; });
}

void VisitOverride(KeyVisitor& visitor, OverrideKeys& entry) {
  visitor.Text(
      {.name = "match", .required = true, .about = "a glob of matrices, layers.*.mlp.down_proj"},
      entry.match);
  visitor.Maybe(&KeyVisitor::Flag, {.name = "keep", .about = "the matrices stay as they are"},
                entry.keep);
  VisitScheme(visitor, entry.scheme);
  visitor.Maybe(&KeyVisitor::Text, {.name = "method", .about = "a rounder for them"}, entry.method);
}

void VisitMethod(KeyVisitor& visitor, std::string& method, std::string& label) {
  visitor.Text({.name = "method",
                .required = true,
                .about = "transforms and a rounder, smoothquant+gptq; and qat or lora"},
               method);
  visitor.Text({.name = "label", .required = true, .about = "the cell's name"}, label);
}

void VisitKnobs(KeyVisitor& visitor, Knobs& knobs) {
  for (const Knob& knob : knobs.declared()) VisitKnob(visitor, knob, knobs);
}

std::string ReachOf(const ActivationScheme& scheme) {
  return scheme.group > 0 ? "group" : scheme.per_token ? "token" : "tensor";
}

SchemeKeys DefaultWeightKeys() {
  const WeightScheme scheme;
  return {.format = std::string(scheme.format->name),
          .bits = static_cast<size_t>(scheme.bits),
          .granularity = GranularityName(scheme.granularity),
          .group = scheme.group,
          .double_quant = scheme.double_quant,
          .symmetric = scheme.symmetric,
          .full_range = scheme.full_range,
          .zero_in_range = scheme.zero_in_range};
}

ActivationKeys DefaultActivationKeys() {
  const ActivationScheme scheme;
  return {.format = std::string(scheme.format->name),
          .bits = static_cast<size_t>(scheme.bits),
          .granularity = ReachOf(scheme),
          .group = scheme.format->group,
          .dynamic = scheme.dynamic,
          .outlier_threshold = 0,
          .outlier_weights = OutlierWeightsName(OutlierRule{}.weights)};
}

SchemeKeys KeysOf(const WeightScheme& scheme) {
  const NumberFormat& format = *scheme.format;
  SchemeKeys keys{.bits = static_cast<size_t>(scheme.bits),
                  .granularity = GranularityName(scheme.granularity)};
  if (&format != &kIntFormat) keys.format = std::string(format.name);
  if (scheme.granularity == Granularity::kGroup) keys.group = scheme.group;
  if (format.allows_double_quant()) keys.double_quant = scheme.double_quant;
  if (!format.affine()) return keys;
  keys.symmetric = scheme.symmetric;
  if (scheme.symmetric) keys.full_range = scheme.full_range;
  if (!scheme.symmetric) keys.zero_in_range = scheme.zero_in_range;
  return keys;
}

OverrideKeys KeysOf(const SchemeOverride& entry) {
  OverrideKeys keys{.match = entry.match};
  SchemeKeys& scheme = keys.scheme;
  if (entry.keep) keys.keep = true;
  if (entry.format != nullptr) scheme.format = std::string(entry.format->name);
  if (entry.bits) scheme.bits = static_cast<size_t>(*entry.bits);
  if (entry.granularity) scheme.granularity = GranularityName(*entry.granularity);
  scheme.group = entry.group;
  scheme.double_quant = entry.double_quant;
  scheme.symmetric = entry.symmetric;
  scheme.full_range = entry.full_range;
  scheme.zero_in_range = entry.zero_in_range;
  if (!entry.method.empty()) keys.method = entry.method;
  return keys;
}

ActivationKeys KeysOf(const ActivationScheme& scheme) {
  ActivationKeys keys{.bits = static_cast<size_t>(scheme.bits),
                      .granularity = ReachOf(scheme),
                      .dynamic = scheme.dynamic};
  if (scheme.format != &kIntFormat) keys.format = std::string(scheme.format->name);
  if (scheme.group > 0) keys.group = scheme.group;
  if (!scheme.outliers) return keys;
  keys.outlier_threshold = scheme.outliers->threshold;
  keys.outlier_weights = OutlierWeightsName(scheme.outliers->weights);
  return keys;
}

}  // namespace quantref
