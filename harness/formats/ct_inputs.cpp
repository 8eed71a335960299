#include "harness/formats/ct_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "harness/quant/format.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

using Dynamic = CtArgs::Dynamic;
using Strategy = CtArgs::Strategy;

constexpr size_t kNvfp4Group = 16;

std::string RuleName(const CtArgs& rule) {
  constexpr std::string_view kNames[] = {"tensor", "channel", "group",
                                         "block",  "token",   "tensor_group"};
  constexpr std::string_view kTimes[] = {"static", "dynamic", "local"};
  return fmt::format("{}{}, {}{}, {}{}", rule.is_float ? "float" : "int", rule.bits,
                     kNames[static_cast<size_t>(rule.strategy)],
                     rule.group > 0 ? fmt::format(" of {}", rule.group) : "",
                     kTimes[static_cast<size_t>(rule.dynamic)],
                     rule.symmetric ? "" : ", asymmetric");
}

// A static scale, of one number for all inputs; zero points are zeros.
float StaticScale(MatrixTensors& tensors) {
  const float scale = tensors.TakePositive("input_scale", kFloatTypes);
  if (tensors.Find("input_zero_point") != nullptr) {
    const Tensor& zero = tensors.TakeScalar(
        "input_zero_point",
        {DType::kI8, DType::kI32, DType::kF8E4M3, DType::kF16, DType::kBF16, DType::kF32});
    if (!HoldsZeros(zero))
      tensors.Fail("input_zero_point", "0 of a symmetric rule", "another number");
  }
  return scale;
}

std::optional<ActivationFormat> IntInputs(const CtArgs& rule, MatrixTensors& tensors,
                                          std::vector<std::string>& notes) {
  if (rule.bits < kMinBits || !rule.symmetric) return std::nullopt;
  ActivationFormat format;
  format.bits = rule.bits;
  const bool tensor = rule.strategy == Strategy::kTensor;
  format.per_token = !tensor;
  if (rule.dynamic == Dynamic::kNo) {
    if (!tensor) return std::nullopt;
    format.static_scale = StaticScale(tensors);
    notes.push_back("inputs under static scales whose lowest code is not used here");
    return format;
  }
  if (rule.strategy == Strategy::kGroup) format.group = rule.group;
  if (!tensor && rule.strategy != Strategy::kGroup && rule.strategy != Strategy::kToken)
    return std::nullopt;
  notes.push_back(
      fmt::format("inputs whose scale is the largest magnitude over {0}, as kernels "
                  "have it; compressed-tensors' Python takes {0}.5",
                  (1 << (rule.bits - 1)) - 1));
  return format;
}

std::optional<ActivationFormat> Float8Inputs(const CtArgs& rule, MatrixTensors& tensors) {
  ActivationFormat format;
  format.format = FindFormat("fp8_e4m3");
  if (rule.dynamic == Dynamic::kNo) {
    if (rule.strategy != Strategy::kTensor) return std::nullopt;
    format.static_scale = StaticScale(tensors);
    return format;
  }
  if (rule.strategy == Strategy::kGroup) format.group = rule.group;
  if (rule.strategy != Strategy::kGroup && rule.strategy != Strategy::kToken) return std::nullopt;
  return format;
}

// Scales of groups at run time, under one number for the matrix that was found before.
std::optional<ActivationFormat> Nvfp4Inputs(const CtArgs& rule, MatrixTensors& tensors) {
  if (rule.strategy != Strategy::kTensorGroup || rule.group != kNvfp4Group ||
      rule.dynamic != Dynamic::kLocal)
    return std::nullopt;
  ActivationFormat format;
  format.format = FindFormat("nvfp4");
  format.bits = format.format->bits();
  format.group = rule.group;
  format.static_scale = tensors.TakePositive("input_global_scale", {DType::kF32});
  return format;
}

}  // namespace

ActivationFormat InputsOf(const CtArgs& rule, MatrixTensors& tensors, const ForeignFolder& folder,
                          std::vector<std::string>& notes) {
  std::optional<ActivationFormat> format;
  if (!rule.is_float) {
    format = IntInputs(rule, tensors, notes);
  } else if (rule.symmetric && rule.bits == 8) {
    format = Float8Inputs(rule, tensors);
  } else if (rule.symmetric && rule.bits == 4) {
    format = Nvfp4Inputs(rule, tensors);
  }
  if (!format) RefuseSetting(folder, "inputs rounded as " + RuleName(rule));
  return *format;
}

}  // namespace quantref
