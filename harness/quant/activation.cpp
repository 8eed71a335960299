#include "harness/quant/activation.h"

#include <fmt/format.h>

#include "harness/quant/format.h"

namespace quantref {

const char* OutlierWeightsName(OutlierRule::Weights weights) {
  return weights == OutlierRule::Weights::kFp16 ? "fp16" : "int8";
}

std::string OutlierName(const OutlierRule& rule) {
  return fmt::format("{}>={}", OutlierWeightsName(rule.weights), rule.threshold);
}

std::span<const NumberFormat* const> ActivationFormats() {
  static const NumberFormat* const formats[] = {&kIntFormat, FindFormat("fp8_e4m3"),
                                                FindFormat("fp8_e5m2"), FindFormat("mxfp4"),
                                                FindFormat("nvfp4")};
  return formats;
}

std::string ActivationName(const ActivationScheme& scheme) {
  std::string name = fmt::format("a{}", scheme.bits);
  if (scheme.format != &kIntFormat) name = fmt::format("a-{}", scheme.format->name);
  if (scheme.group > 0) return fmt::format("{} g{}", name, scheme.group);
  name +=
      fmt::format(" {}{}", scheme.per_token ? "token" : "tensor", scheme.dynamic ? "" : " static");
  if (scheme.outliers) name += " " + OutlierName(*scheme.outliers);
  return name;
}

std::string HashedActivations(const ActivationFormat& format) {
  std::string text =
      fmt::format("a{} {} {}", format.bits, format.per_token, format.static_scale.value_or(-1));
  if (!format.HasIntegerProducts())
    text += fmt::format(" {} g{}", format.format->name, format.group);
  if (format.outliers) {
    const bool keeps = format.outliers->weights == OutlierRule::Weights::kFp16;
    text += fmt::format(" {}>={}", keeps ? "fp16" : "int8", format.outliers->threshold);
  }
  return text;
}

std::optional<ActivationFormat> DynamicFormat(const std::optional<ActivationScheme>& scheme) {
  if (!scheme) return std::nullopt;
  return ActivationFormat{scheme->bits,     scheme->per_token, std::nullopt,
                          scheme->outliers, scheme->group,     scheme->format};
}

}  // namespace quantref
