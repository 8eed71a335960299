#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/input_file.h"
#include "harness/model/config.h"
#include "harness/model/foreign_checkpoint.h"
#include "harness/model/weights.h"
#include "harness/tokenizer/tokenizer.h"

namespace quantref {

// Everything of a model: of a folder config.json, *.safetensors and the tokenizer, checked against
// each other; or a GGUF file's weights and keys. LoadModel's is a reference: what its files hold as
// codes is decoded, exactly.
struct Model {
  std::string name;
  std::filesystem::path dir;  // or the GGUF file
  ModelConfig config;
  Tokenizer tokenizer;
  std::optional<uint32_t> bos_id;  // nothing: it has no such token
  bool adds_bos = true;            // texts begin with it, by the tokenizer's own rule
  ModelWeights weights;
  InputFile config_file{}, settings_file{};  // the second of some folders of other tools
  MatrixSources stored{};                    // how the files hold its matrices; of LoadModel

  // All that it was read from. They held one state when it was loaded; whether they still do is
  // CheckUnchanged's question.
  std::vector<InputFile> files() const;
};

// `path`: of the folder, or of the GGUF file. Throws Error where a file is wrong or the tokenizer
// and the config disagree: on BOS, or by more pieces than the embedding has rows. It may have more
// rows than there are pieces: for tokens that were added, or to be a multiple of something. Throws
// InputChanged where a file was changed meanwhile.
//
// `open`: what quantized folders of other tools are read by, which are refused without it. Those
// whose inputs are rounded, too, are refused: a reference rounds nothing.
Model LoadModel(const std::string& name, const std::filesystem::path& path, WeightType type,
                size_t threads, const ForeignOpener& open = {});

// LoadModel in two steps. The first opens and checks all that can be without reading weights;
// `sources` says whether codes are decoded, and gets what was found. The second reads the weights,
// and the files' hashes.
Model MapModel(const std::string& name, const std::filesystem::path& path, WeightType type,
               const ForeignOpener& open = {}, MatrixSources* sources = nullptr);
void ReadModel(Model& model, WeightType type, size_t threads,
               std::vector<CountedNote>* notes = nullptr);

// What of LoadModel's errors can be had without reading the weights: family, tokenizer, and whether
// all tensors are there in their shapes. Returns the config.
ModelConfig CheckModelFiles(const std::filesystem::path& path, WeightType type,
                            const ForeignOpener& open = {});

// The config alone, whatever it says of how weights are quantized.
ModelConfig ReadModelConfig(const std::filesystem::path& path);

// What loading takes, at most: the files that are mapped, and weights that are decoded to memory.
// `coded`: whether a folder's matrices are another tool's codes; of these, those of its blocks
// count, and its head where that is none of numbers.
struct ModelBytes {
  uint64_t files = 0, decoded = 0;
};
ModelBytes BytesToLoad(const std::filesystem::path& path, WeightType type, bool coded = false);

// What to say of GGUF files that stand beside the safetensors that the model is read from; "" where
// there is none.
std::string PassedByText(const Model& model);

}  // namespace quantref
