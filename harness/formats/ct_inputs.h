#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/formats/ct_config.h"
#include "harness/formats/matrix_tensors.h"
#include "harness/quant/activation.h"

namespace quantref {

// How a matrix's inputs are rounded by this rule, with static scales from its tensors; what is done
// otherwise than compressed-tensors' Python does goes into `notes`. Throws Error, by name, for a
// rule that ActivationFormat cannot have.
ActivationFormat InputsOf(const CtArgs& rule, MatrixTensors& tensors, const ForeignFolder& folder,
                          std::vector<std::string>& notes);

}  // namespace quantref
