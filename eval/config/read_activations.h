#pragma once

#include <optional>

#include "eval/support/yaml_reader.h"
#include "harness/quant/activation.h"

namespace quantref {

// The `activations` of the `quantize` section or of an entry of its methods, over what holds
// otherwise. Throws Error for what makes no sense.
std::optional<ActivationScheme> ReadActivations(YamlReader& yaml,
                                                std::optional<ActivationScheme> activations);

}  // namespace quantref
