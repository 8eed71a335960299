#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/rng.h"
#include "harness/model/weights.h"
#include "harness/quant/plan.h"
#include "harness/train/adamw.h"

namespace quantref {

// Low-rank adapters (Hu et al. 2022) beside quantized weights that stay as they are; on NF4 with
// double quantization this is QLoRA (Dettmers et al. 2023).

// What becomes of adapters when they are trained: kept apart; or added to what the codes stand for,
// which is rounded to FP16, or to the cell's own scheme.
enum class LoraMerge { kNone, kFp16, kRound };
const char* LoraMergeName(LoraMerge merge);  // "none", "fp16", "round"

struct LoraSpec {
  size_t rank = 16;
  double alpha = 16;                         // what an adapter gives is times alpha / rank
  std::vector<std::string> targets = {"*"};  // globs of quantized matrices that get one
  LoraMerge merge = LoraMerge::kNone;

  float Scale() const { return static_cast<float>(alpha / static_cast<double>(rank)); }
  bool operator==(const LoraSpec&) const = default;
};

// Whether the matrix gets an adapter: it has a scheme, and a target matches it.
bool HasAdapter(const LoraSpec& spec, const PlannedLinear& linear);

// Throws Error for a target that matches no quantized matrix of the plan, and for a rank that is
// not below both sides of a matrix that gets an adapter.
void CheckTargets(const LoraSpec& spec, const std::vector<PlannedLinear>& plan);

// Numbers that are trained; and the bytes of what the cell's matrices have beside their codes, or
// in their place, when it is done.
size_t LoraParameters(const LoraSpec& spec, const std::vector<PlannedLinear>& plan);
double LoraBytes(const LoraSpec& spec, const std::vector<PlannedLinear>& plan);

// One matrix's adapter in training: A (rank, in), B (out, rank).
struct LoraPair {
  Parameter a, b;

  bool empty() const { return a.empty(); }
};

// As PEFT begins: A uniform in +-1 / sqrt(in), which is He et al.'s initialization with a slope of
// sqrt(5), B zero, so that nothing is added.
LoraPair MakeLoraPair(const std::string& name, size_t rows, size_t cols, size_t rank, Rng& rng);

// Rows of W + scale B A from `first` on, decoded.
void ComposeRows(const Weight& weight, const LoraPair& pair, float scale, size_t first,
                 MatrixView<float> values);

// Gradients of A and B by dw (out, in), that of W + scale B A: da = scale B^T dw, db = scale dw
// A^T. On the calling thread.
void LoraBackward(MatrixView<const float> dw, float scale, LoraPair& pair);

// The linear with its trained adapter, as the spec says: apart, merged into FP16, or merged in
// FP32, ready to be rounded. Throws Error as Weight::RoundedToHalf.
void FinishAdapter(const LoraSpec& spec, const LoraPair& pair, Linear& linear);

}  // namespace quantref
