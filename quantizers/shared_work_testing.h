#pragma once

#include <string>
#include <vector>

#include "harness/base/rng.h"
#include "harness/method/quantize_model.h"
#include "harness/model/plan_model.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

// Cells of one tiny model that are quantized together. Only tests include this.

namespace quantref::testing {

inline constexpr size_t kSharedTokens = 12,
                        kSharedSamples = 20;  // more samples than inputs are kept of

struct SharedModel {
  explicit SharedModel(bool tied = false, const std::string& dtype = "F32") {
    const TempDir dir;
    WriteTinyModel(dir.path(), {.layers = 3, .kv_heads = 4, .tied = tied, .dtype = dtype});
    config = ReadConfig(dir / "config.json");
    weights = LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
    Rng rng(1);
    for (size_t s = 0; s < kSharedSamples; ++s)
      data.samples.push_back(RandomIds(kSharedTokens, config.vocab, rng));
  }
  ModelConfig config;
  ModelWeights weights;
  CalibrationData data;
};

struct SharedCell {
  std::string name;
  Method method;
  std::vector<PlannedLinear> plan;
  Products products = Products::kSimulated;
};

// "smoothquant+gptq" under a plan of so many bits, whose first block has its own.
inline SharedCell MakeSharedCell(const SharedModel& model, const std::string& name, int bits,
                                 int first = 0) {
  SharedCell cell{name, {}, {}};
  const size_t plus = name.find('+');
  if (plus != name.npos) cell.method.transforms = {FindTransform(name.substr(0, plus))};
  cell.method.rounder = FindRounder(name.substr(plus == name.npos ? 0 : plus + 1));
  cell.method.knobs.insert_or_assign("awq", FewCandidates());
  QuantizeSpec spec;
  spec.weights = {.bits = bits, .granularity = Granularity::kGroup, .group = 16};
  if (first > 0) {
    SchemeOverride other;
    other.match = "layers.0.*";
    other.bits = first;
    spec.overrides = {other};
  }
  cell.plan = PlanModel(spec, model.config);
  return cell;
}

}  // namespace quantref::testing
