#include "harness/train/lora.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/base/glob.h"
#include "harness/base/setting_error.h"
#include "harness/kernels/gemm.h"
#include "harness/model/adapter.h"

namespace quantref {
namespace {

void ScaleAll(Matrix<float>& matrix, float scale) {
  float* const values = matrix.data();
  const size_t size = matrix.rows() * matrix.cols();
  for (size_t i = 0; i < size; ++i) values[i] *= scale;
}

Matrix<float> Merged(const Weight& weight, const LoraPair& pair, float scale) {
  Matrix<float> merged(weight.rows(), weight.cols());
  ComposeRows(weight, pair, scale, 0, merged.view());
  return merged;
}

}  // namespace

const char* LoraMergeName(LoraMerge merge) {
  return merge == LoraMerge::kNone ? "none" : merge == LoraMerge::kFp16 ? "fp16" : "round";
}

bool HasAdapter(const LoraSpec& spec, const PlannedLinear& linear) {
  return linear.scheme.has_value() &&
         std::any_of(spec.targets.begin(), spec.targets.end(), [&](const std::string& target) {
           return GlobMatches(target, linear.shape.name);
         });
}

void CheckTargets(const LoraSpec& spec, const std::vector<PlannedLinear>& plan) {
  for (const std::string& target : spec.targets) {
    const bool matches = std::any_of(plan.begin(), plan.end(), [&](const PlannedLinear& linear) {
      return linear.scheme.has_value() && GlobMatches(target, linear.shape.name);
    });
    if (matches) continue;
    throw SettingError(fmt::format("'{}' matches no quantized matrix of the model", target),
                       "lora.targets", "matrices are called layers.0.self_attn.q_proj");
  }
  for (const PlannedLinear& linear : plan) {
    const size_t smaller = std::min(linear.shape.rows, linear.shape.cols);
    if (!HasAdapter(spec, linear) || spec.rank < smaller) continue;
    throw SettingError(fmt::format("expected a rank below {}, the smaller side of {}, found {}",
                                   smaller, linear.shape.name, spec.rank),
                       "lora.rank", "an adapter of that rank is larger than its matrix");
  }
}

size_t LoraParameters(const LoraSpec& spec, const std::vector<PlannedLinear>& plan) {
  size_t count = 0;
  for (const PlannedLinear& linear : plan)
    if (HasAdapter(spec, linear)) count += spec.rank * (linear.shape.rows + linear.shape.cols);
  return count;
}

double LoraBytes(const LoraSpec& spec, const std::vector<PlannedLinear>& plan) {
  constexpr double kHalf = 2, kSingle = 4;
  if (spec.merge == LoraMerge::kNone)
    return kHalf * static_cast<double>(LoraParameters(spec, plan));
  double weights = 0;
  for (const PlannedLinear& linear : plan) {
    if (HasAdapter(spec, linear))
      weights += static_cast<double>(linear.shape.rows * linear.shape.cols);
  }
  return (spec.merge == LoraMerge::kFp16 ? kHalf : kSingle) * weights;
}

LoraPair MakeLoraPair(const std::string& name, size_t rows, size_t cols, size_t rank, Rng& rng) {
  Matrix<float> a(rank, cols), b(rows, rank);
  const double bound = 1 / std::sqrt(static_cast<double>(cols));
  for (size_t i = 0; i < rank * cols; ++i)
    a.data()[i] = static_cast<float>((2 * rng.Uniform() - 1) * bound);
  std::fill_n(b.data(), rows * rank, 0.0f);
  return {MakeParameter(name + ".lora_A", a.view(), true),
          MakeParameter(name + ".lora_B", b.view(), true)};
}

void ComposeRows(const Weight& weight, const LoraPair& pair, float scale, size_t first,
                 MatrixView<float> values) {
  weight.DecodeRows(first, values);
  if (pair.empty()) return;
  AddLowRank(pair.b.value.view().Rows(first, values.rows()), pair.a.value.view(), scale, values);
}

void LoraBackward(MatrixView<const float> dw, float scale, LoraPair& pair) {
  MultiplyFirstTransposed(pair.b.value.view(), dw, pair.a.gradient.view());
  MultiplyTransposed(dw, pair.a.value.view(), pair.b.gradient.view());
  ScaleAll(pair.a.gradient, scale);
  ScaleAll(pair.b.gradient, scale);
}

void FinishAdapter(const LoraSpec& spec, const LoraPair& pair, Linear& linear) {
  const float scale = spec.Scale();
  switch (spec.merge) {
    case LoraMerge::kNone:
      linear.adapter = MakeAdapter(linear.name, pair.a.value.view(), pair.b.value.view(), scale);
      return;
    case LoraMerge::kFp16:
      linear.weight = Weight::RoundedToHalf(Merged(linear.weight, pair, scale).view(), linear.name);
      return;
    case LoraMerge::kRound:
      linear.weight = Weight(Merged(linear.weight, pair, scale));
      return;
  }
}

}  // namespace quantref
