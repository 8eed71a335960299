#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "harness/export/exported_cell.h"
#include "harness/io/safetensors_writer.h"

namespace quantref {

// Writes a folder as transformers has them: model.safetensors with the tensors; config.json as the
// model has it, with this quantization_config (null: none) in the place of any other, and whether
// the head is tied as the cell has it, and as torch_dtype (or dtype, where it has that) `dtype`,
// the embedding's type where that is ""; and what the model has beside them: the tokenizer's files,
// generation_config.json, chat templates.
//
// config.json gets a key "quantref", too: the cell's origin, and of `int` what packed layouts leave
// open: "full_range" of symmetric matrices, "zero_in_range" of asymmetric ones (WeightScheme), or,
// where they differ, the names of those of which it is true.
void WriteModelFolder(const FinishedCell& cell, const std::filesystem::path& folder,
                      std::vector<TensorToWrite> tensors, const nlohmann::json& quantization,
                      const std::string& dtype = "");

}  // namespace quantref
