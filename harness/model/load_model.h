#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/input_file.h"
#include "harness/tokenizer/tokenizer.h"
#include "harness/model/config.h"
#include "harness/model/weights.h"

namespace quantref {

// Everything of a model folder: config.json, *.safetensors, tokenizer.model, checked against each
// other.
struct Model {
  std::string name;
  std::filesystem::path dir;
  ModelConfig config;
  Tokenizer tokenizer;
  std::optional<uint32_t> bos_id;  // nothing: it has no such token
  bool adds_bos = true;            // texts begin with it, by the tokenizer's own rule
  ModelWeights weights;
  InputFile config_file{};

  // All that it was read from. They held one state when it was loaded; whether they still do is
  // CheckUnchanged's question.
  std::vector<InputFile> files() const;
};

// Throws Error where a file is wrong or the tokenizer and the config disagree: on BOS, or by more
// pieces than the embedding has rows. It may have more rows than there are pieces: for tokens that
// were added, or to be a multiple of something. Throws InputChanged where
// a file was changed meanwhile.
Model LoadModel(const std::string& name, const std::filesystem::path& dir, WeightType type,
                size_t threads);

// What of LoadModel's errors can be had without reading the weights: family, tokenizer, and whether
// all tensors are there in their shapes. Returns the config.
ModelConfig CheckModelFolder(const std::filesystem::path& dir, WeightType type);

}  // namespace quantref
