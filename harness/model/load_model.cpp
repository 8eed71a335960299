#include "harness/model/load_model.h"

#include <fmt/format.h>

#include "harness/base/error.h"
#include "harness/base/parallel.h"

namespace quantref {
namespace {

std::optional<uint32_t> AgreeOnBos(const ModelConfig& config, const Tokenizer& tokenizer,
                                   const std::filesystem::path& dir) {
  const std::optional<uint32_t> of_tokenizer = tokenizer.bos_id();
  if (of_tokenizer && config.bos_id && *of_tokenizer != *config.bos_id) {
    throw Error(fmt::format("config.json says bos_token_id {}, tokenizer.model says {}",
                            *config.bos_id, *of_tokenizer),
                dir.string(), "texts may begin with BOS: make the two agree");
  }
  if (tokenizer.adds_bos().value_or(false) && !of_tokenizer && !config.bos_id) {
    throw Error(
        "tokenizer_config.json adds a BOS token, which neither config.json nor "
        "tokenizer.model names",
        dir.string(), "set bos_token_id in config.json");
  }
  return of_tokenizer ? of_tokenizer : config.bos_id;
}

void CheckVocabulary(const ModelConfig& config, const Tokenizer& tokenizer,
                     const std::filesystem::path& dir) {
  if (tokenizer.vocab_size() <= config.vocab) return;
  throw Error(fmt::format("config.json says vocab_size {}, tokenizer.model has {} pieces",
                          config.vocab, tokenizer.vocab_size()),
              dir.string(), "the tokenizer belongs to another model");
}

// Both read all of the files, so beside each other.
void HashAndRead(ModelWeights& weights, WeightType type, size_t threads) {
  ParallelFor(2, threads, [&](size_t job, size_t) {
    if (job == 0) {
      ReadWeights(weights, type, threads);
    } else {
      weights.checkpoint->Sha256(threads);
    }
  });
}

// LoadModel but for the look at every weight. What no setting can mend is found first.
Model OpenModel(const std::string& name, const std::filesystem::path& dir, WeightType type) {
  if (!std::filesystem::is_directory(dir)) {
    throw Error("expected a folder with config.json, *.safetensors and tokenizer.model, found none",
                dir.string());
  }
  InputFile config_file;
  ModelConfig config = ReadConfig(dir / "config.json", &config_file);
  Tokenizer tokenizer = Tokenizer::Load(dir);
  CheckVocabulary(config, tokenizer, dir);
  const std::optional<uint32_t> bos_id = AgreeOnBos(config, tokenizer, dir);
  // Families of SentencePiece models add it unless they are told not to.
  const bool adds_bos = bos_id && tokenizer.adds_bos().value_or(true);
  ModelWeights weights = MapWeights(config, Checkpoint::Open(dir), type);
  return {.name = name,
          .dir = dir,
          .config = std::move(config),
          .tokenizer = std::move(tokenizer),
          .bos_id = bos_id,
          .adds_bos = adds_bos,
          .weights = std::move(weights),
          .config_file = std::move(config_file)};
}

}  // namespace

Model LoadModel(const std::string& name, const std::filesystem::path& dir, WeightType type,
                size_t threads) {
  Model model = OpenModel(name, dir, type);
  HashAndRead(model.weights, type, threads);
  for (const InputFile& file : model.files()) file.CheckLoaded();
  return model;
}

std::vector<InputFile> Model::files() const {
  std::vector<InputFile> files = weights.checkpoint->files();
  files.push_back(config_file);
  const std::vector<InputFile>& of_tokenizer = tokenizer.facts().files;
  files.insert(files.end(), of_tokenizer.begin(), of_tokenizer.end());
  return files;
}

ModelConfig CheckModelFolder(const std::filesystem::path& dir, WeightType type) {
  return OpenModel("", dir, type).config;
}

}  // namespace quantref
