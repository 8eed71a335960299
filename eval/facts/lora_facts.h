#pragma once

#include <cstddef>
#include <vector>

#include "harness/model/weights.h"
#include "harness/quant/plan.h"
#include "harness/train/lora.h"

namespace quantref {

// The adapters that a cell was trained with.
struct LoraFacts {
  LoraSpec spec;
  size_t matrices = 0;    // that got one
  size_t parameters = 0;  // that were trained
  double bits = 0;        // of EffectiveBits::blocks, theirs; 0: none is kept apart
};

// weights: the cell's, as they are measured.
LoraFacts DescribeLora(const LoraSpec& spec, const std::vector<PlannedLinear>& plan,
                       const ModelWeights& weights);

}  // namespace quantref
