#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "harness/formats/foreign_folder.h"
#include "harness/quant/activation.h"

namespace quantref {

// What the quantization_config of compressed-tensors says (its QuantizationConfig), as far as it is
// understood here; the rest is refused by name.

// Of weights or of a linear's inputs.
struct CtArgs {
  enum class Strategy { kTensor, kChannel, kGroup, kBlock, kToken, kTensorGroup };
  enum class Dynamic { kNo, kYes, kLocal };

  int bits = 8;
  bool is_float = false;
  bool symmetric = true;
  Strategy strategy = Strategy::kTensor;
  size_t group = 0;                       // of kGroup and kTensorGroup
  size_t block_rows = 0, block_cols = 0;  // of kBlock
  Dynamic dynamic = Dynamic::kNo;
  bool by_index = false;  // actorder: group, the inputs of a group are named by weight_g_idx
};

// How some modules are quantized.
struct CtGroup {
  std::string name;
  std::vector<std::string> targets;  // names, "re:EXPRESSION", or classes
  std::string format;                // "pack-quantized"
  CtArgs weights;
  std::optional<CtArgs> inputs;
};

struct CtConfig {
  std::string format;  // of all, "mixed-precision" where they differ
  std::vector<CtGroup> groups;
  std::vector<std::string> ignore;
};

CtConfig ReadCtConfig(const ForeignFolder& folder);

// The group of the module; nullptr: it is not quantized. Throws Error where two match alike.
const CtGroup* GroupOf(const CtConfig& config, const std::string& module, const std::string& where);

}  // namespace quantref
