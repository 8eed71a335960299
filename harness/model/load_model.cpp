#include "harness/model/load_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/base/sha256.h"
#include "harness/model/gguf_config.h"
#include "harness/model/layout.h"

namespace quantref {
namespace {

// Whether a checkpoint's tensor is multiplied by: one of a block, or the head, which may be the
// embedding.
bool IsMultiplied(const Checkpoint& checkpoint, const std::string& name) {
  const std::string head = "lm_head.weight";
  if (name.starts_with("model.layers.")) return true;
  return name == (checkpoint.Find(head) != nullptr ? head : "model.embed_tokens.weight");
}

// Weights of the matrices of its blocks.
uint64_t BlockParameters(const ModelConfig& config) {
  uint64_t weights = 0;
  for (size_t layer = 0; layer < config.layers.size(); ++layer)
    weights += LayoutOf(config, layer).Weights();
  return weights;
}

// Whether the head, which may be the embedding, stands there as weights, not as codes.
bool HeadHasNumbers(const Checkpoint& checkpoint, const ModelConfig& config) {
  const Tensor* head =
      checkpoint.Find(config.tied_head ? "model.embed_tokens.weight" : "lm_head.weight");
  if (head == nullptr) return false;
  const DType type = head->dtype;
  return type == DType::kF16 || type == DType::kBF16 || type == DType::kF32;
}

std::optional<uint32_t> AgreeOnBos(const ModelConfig& config, const Tokenizer& tokenizer, bool gguf,
                                   const std::filesystem::path& path) {
  const std::optional<uint32_t> of_tokenizer = tokenizer.bos_id();
  if (of_tokenizer && config.bos_id && *of_tokenizer != *config.bos_id) {
    throw Error(fmt::format("config.json says bos_token_id {}, the tokenizer says {}",
                            *config.bos_id, *of_tokenizer),
                path.string(), "texts may begin with BOS: make the two agree");
  }
  if (tokenizer.adds_bos().value_or(false) && !of_tokenizer && !config.bos_id) {
    throw Error(gguf ? "the tokenizer adds a BOS token, which no key names"
                     : "the tokenizer adds a BOS token, which neither it nor config.json names",
                path.string(),
                gguf ? "convert the model again: the key is tokenizer.ggml.bos_token_id"
                     : "set bos_token_id in config.json");
  }
  return of_tokenizer ? of_tokenizer : config.bos_id;
}

void CheckVocabulary(const ModelConfig& config, const Tokenizer& tokenizer,
                     const std::filesystem::path& dir) {
  // Control tokens may lie beyond the embedding: no text becomes one.
  const size_t bos_end = tokenizer.bos_id() ? size_t{*tokenizer.bos_id()} + 1 : 0;
  const size_t pieces = std::max(tokenizer.facts().text_ids_end, bos_end);
  if (pieces <= config.vocab) return;
  throw Error(
      fmt::format("the embedding has {} rows, the tokenizer {} pieces", config.vocab, pieces),
      dir.string(), "the tokenizer belongs to another model");
}

// Both read all of the files, so beside each other.
void HashAndRead(ModelWeights& weights, WeightType type, size_t threads,
                 std::vector<CountedNote>* notes) {
  ParallelFor(2, threads, [&](size_t job, size_t) {
    if (job == 0) {
      ReadWeights(weights, type, threads, notes);
    } else {
      weights.checkpoint->Sha256(threads);
    }
  });
}

// What a model is read from, opened.
struct OpenedFiles {
  std::shared_ptr<const Checkpoint> checkpoint;
  ModelConfig config;
  Tokenizer tokenizer;
  InputFile config_file;
};

OpenedFiles OpenGguf(const std::filesystem::path& path) {
  std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::Open(path);
  const GgufFile& keys = *checkpoint->gguf();
  ModelConfig config = ReadGgufConfig(*checkpoint);
  Tokenizer tokenizer = Tokenizer::FromGguf(ReadGgufVocabulary(keys), path.string());
  return {std::move(checkpoint), std::move(config), std::move(tokenizer), {}};
}

OpenedFiles OpenFolder(const std::filesystem::path& dir, bool quantized) {
  if (!std::filesystem::is_directory(dir)) {
    throw Error(
        "expected a folder with config.json, *.safetensors and a tokenizer, or a .gguf file, found "
        "none",
        dir.string());
  }
  InputFile config_file;
  ModelConfig config = ReadConfig(dir / "config.json", &config_file, quantized);
  Tokenizer tokenizer = Tokenizer::Load(dir);
  return {Checkpoint::Open(dir), std::move(config), std::move(tokenizer), std::move(config_file)};
}

// Other programs would round such a folder as they load it, or not at all.
void RequireCodes(const MatrixSources& sources, const std::filesystem::path& path) {
  if (sources.foreign == nullptr || sources.HoldsCodes()) return;
  throw Error(fmt::format("expected matrices of codes, as its quantization_config says ({}), found "
                          "plain numbers alone",
                          sources.foreign->format()),
              path.string(),
              "without quantization_config (or quantize_config.json) they are taken as they are");
}

}  // namespace

// What no setting can mend is found first.
Model MapModel(const std::string& name, const std::filesystem::path& path, WeightType type,
               const ForeignOpener& open, MatrixSources* sources) {
  MatrixSources unasked;
  if (sources == nullptr) sources = &unasked;
  const std::optional<std::filesystem::path> gguf = Checkpoint::FindGguf(path);
  OpenedFiles opened = gguf ? OpenGguf(*gguf) : OpenFolder(path, open != nullptr);
  const ModelConfig& config = opened.config;
  const Tokenizer& tokenizer = opened.tokenizer;
  CheckVocabulary(config, tokenizer, path);
  const std::optional<uint32_t> bos_id = AgreeOnBos(config, tokenizer, gguf.has_value(), path);
  // Families of SentencePiece models add it unless they are told not to.
  const bool adds_bos = bos_id && tokenizer.adds_bos().value_or(true);
  std::optional<InputFile> settings;
  if (open && !gguf) sources->foreign = open(path, opened.checkpoint, &settings);
  if (settings) opened.config.sha256 = Sha256Hex(opened.config.sha256 + settings->sha256());
  ModelWeights weights = MapWeights(config, opened.checkpoint, type, sources);
  RequireCodes(*sources, path);
  return {.name = name,
          .dir = path,
          .config = std::move(opened.config),
          .tokenizer = std::move(opened.tokenizer),
          .bos_id = bos_id,
          .adds_bos = adds_bos,
          .weights = std::move(weights),
          .config_file = std::move(opened.config_file),
          .settings_file = settings.value_or(InputFile())};
}

void ReadModel(Model& model, WeightType type, size_t threads, std::vector<CountedNote>* notes) {
  HashAndRead(model.weights, type, threads, notes);
  for (const InputFile& file : model.files()) file.CheckLoaded();
}

Model LoadModel(const std::string& name, const std::filesystem::path& path, WeightType type,
                size_t threads, const ForeignOpener& open) {
  MatrixSources stored{.decode = true};
  Model model = MapModel(name, path, type, open, &stored);
  ReadModel(model, type, threads, &stored.notes);
  model.stored = std::move(stored);
  return model;
}

std::string PassedByText(const Model& model) {
  const std::vector<std::string> names = Checkpoint::GgufPassedBy(model.dir);
  if (names.empty()) return "";
  return fmt::format("its safetensors are read, not {} beside them: name the file to read that",
                     fmt::join(names, ", "));
}

std::vector<InputFile> Model::files() const {
  std::vector<InputFile> files = weights.checkpoint->files();
  files.push_back(config_file);
  files.push_back(settings_file);
  const std::vector<InputFile>& of_tokenizer = tokenizer.facts().files;
  files.insert(files.end(), of_tokenizer.begin(), of_tokenizer.end());
  return files;
}

ModelConfig CheckModelFiles(const std::filesystem::path& path, WeightType type,
                            const ForeignOpener& open) {
  MatrixSources stored{.decode = true};
  return MapModel("", path, type, open, &stored).config;
}

ModelConfig ReadModelConfig(const std::filesystem::path& path) {
  const std::optional<std::filesystem::path> gguf = Checkpoint::FindGguf(path);
  return gguf ? ReadGgufConfig(*Checkpoint::Open(*gguf))
              : ReadConfig(path / "config.json", nullptr, true);
}

ModelBytes BytesToLoad(const std::filesystem::path& path, WeightType type, bool coded) {
  ModelBytes bytes{Checkpoint::FileBytesIn(path), 0};
  const size_t number = DTypeBytes(type == WeightType::kFp16 ? DType::kF16 : DType::kF32);
  const std::optional<std::filesystem::path> gguf = Checkpoint::FindGguf(path);
  if (!gguf && coded) {
    const ModelConfig config = ReadModelConfig(path);
    bytes.decoded = BlockParameters(config) * number;
    if (!HeadHasNumbers(*Checkpoint::Open(path), config))
      bytes.decoded += uint64_t{config.vocab} * config.hidden * number;
  }
  if (!gguf) return bytes;
  const auto checkpoint = Checkpoint::Open(*gguf);
  for (const std::string& name : checkpoint->names()) {
    const Tensor& tensor = checkpoint->Get(name);
    if (tensor.dtype != DType::kBlocks || !IsMultiplied(*checkpoint, name)) continue;
    const GgmlTypeRow& row = GgmlRow(tensor.blocks);
    bytes.decoded += tensor.bytes / row.bytes * row.elements * number;
  }
  return bytes;
}

}  // namespace quantref
