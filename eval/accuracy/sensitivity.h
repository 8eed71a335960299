#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "harness/model/config.h"
#include "harness/model/weights.h"
#include "harness/quant/plan.h"

namespace quantref {

// How much a model minds that one of its matrices is rounded while all others stay as they are.
// ZeroQ's sensitivity (Cai et al., CVPR 2020) of matrix i at k bits, over samples x_j:
//   Omega_i(k) = 1/N sum_j KL(M(x_j) || M_i,k(x_j))
// It is measured, with nothing linearized: each rounded matrix takes the samples through the blocks
// from its own on, what comes before being the reference's.

struct SensitivityOptions {
  size_t threads = 1;
  // Called from the worker threads, one at a time; may throw to stop. `what`: the matrix at work.
  std::function<void(size_t done, size_t total, std::string_view what)> progress{};
};

// Of each matrix of the plan (PlanModel's of this config) that has a scheme: the mean KL in nats a
// position when it alone is rounded to nearest by its scheme, with each of these numbers of bits in
// their order; empty for the others. Activations stay FP32. `samples`: token ids, two or more each,
// no more than the config's context. The bits of the result do not depend on the threads. Throws
// Error where a matrix cannot be rounded so, and where logits are not finite.
std::vector<std::vector<double>> MeasureSensitivity(const ModelConfig& config,
                                                    const ModelWeights& weights,
                                                    std::span<const PlannedLinear> plan,
                                                    std::span<const size_t> bits,
                                                    std::span<const std::vector<uint32_t>> samples,
                                                    const SensitivityOptions& options);

// What that takes of each sample: how often a block reads it, and how often logits are made of it,
// the reference's for every matrix once more.
struct SensitivityWork {
  size_t blocks = 0, heads = 0;
};
SensitivityWork SensitivityWorkOf(const ModelConfig& config, std::span<const PlannedLinear> plan,
                                  size_t choices);

// What it holds at most beside the weights, without the blocks' own buffers: bytes. `length`: of
// the longest sample.
double SensitivityBytes(const ModelConfig& config, std::span<const PlannedLinear> plan,
                        std::span<const size_t> bits, size_t samples, size_t length,
                        size_t threads);

}  // namespace quantref
