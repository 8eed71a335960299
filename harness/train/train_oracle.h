#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "harness/model/config.h"
#include "harness/train/train_block.h"

// A model's loss in double, as plainly as it can be written. Only tests include this.

namespace quantref::testing {

using Plain = std::vector<double>;
using PlainParameters = std::map<std::string, Plain>;  // by Parameter::name

// The mean over the predictions of all windows: the cross-entropy, or where there are parameters of
// a reference the KL from it.
double PlainLoss(const ModelConfig& config, const PlainParameters& p,
                 const PlainParameters* reference, std::span<const uint32_t> ids,
                 const BatchShape& batch);

}  // namespace quantref::testing
