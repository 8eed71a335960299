#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "harness/method/calibrate.h"
#include "harness/method/method.h"
#include "harness/model/config.h"
#include "harness/quant/kv_scheme.h"
#include "harness/quant/plan.h"
#include "harness/train/trainer.h"

namespace quantref {

// What a quantized cell reads before it is measured (nothing where it does not calibrate), what is
// done to it, and what it holds from then on.
struct CellLoad {
  size_t samples = 0, length = 0;
  const void* text = nullptr;  // that they are of; cells of one share passes and sums
  DataNeeds needs{};
  bool sequential = true;
  double weight_bytes = 0;
  std::span<const PlannedLinear> plan{};
  const Method* method = nullptr;
  bool kernels = false;
  std::optional<TrainSpec> training{};
  std::optional<KvScheme> kv_cache{};
  const ModelConfig* shape = nullptr;  // as the method leaves it; nullptr: as the model's
};

}  // namespace quantref
