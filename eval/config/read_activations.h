#pragma once

#include <optional>

#include "eval/support/yaml_reader.h"
#include "harness/quant/activation.h"

namespace quantref {

// Each group has an FP32 scale: of fewer numbers it is most of what they are.
inline constexpr size_t kLeastActivationGroup = 8;

// The `activations` of the `quantize` section or of an entry of its methods, over what holds
// otherwise. Throws Error for what makes no sense.
std::optional<ActivationScheme> ReadActivations(YamlReader& yaml,
                                                std::optional<ActivationScheme> activations);

}  // namespace quantref
