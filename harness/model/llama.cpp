#include "harness/model/llama.h"

#include <fmt/format.h>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

std::optional<uint32_t> AgreeOnBos(const LlamaConfig& config, const Tokenizer& tokenizer,
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

void CheckVocabulary(const LlamaConfig& config, const Tokenizer& tokenizer,
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
  LlamaConfig config = ReadConfig(dir / "config.json", &config_file);
  Tokenizer tokenizer = Tokenizer::Load(dir / "tokenizer.model");
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
  files.insert(files.end(), {config_file, tokenizer.file()});
  return files;
}

LlamaConfig CheckModelFolder(const std::filesystem::path& dir, WeightType type) {
  return OpenModel("", dir, type).config;
}

Transformer::Transformer(const LlamaConfig& config, ModelWeights weights, size_t max_tokens)
    : config_(config),
      weights_(std::move(weights)),
      max_tokens_(max_tokens),
      rope_(config, CommonRopeLength(config, max_tokens)) {
  QR_CHECK_LE(max_tokens, config.context);
}

void Embed(const ModelWeights& weights, std::span<const uint32_t> ids, MatrixView<float> h,
           Team* team) {
  ForTokens(team, ids.size(), [&](size_t t) {
    QR_CHECK_LT(ids[t], weights.embedding.weight.rows());
    weights.embedding.weight.DecodeRows(ids[t], h.Rows(t, 1));
  });
}

void Transformer::Forward(std::span<const uint32_t> ids, MatrixView<float> h, Workspace& work,
                          KvCache* cache) const {
  const size_t before = cache == nullptr ? 0 : cache->tokens, length = before + ids.size();
  Embed(weights_, ids, h, work.team());
  if (length <= rope_.length()) return RunBlocks(rope_, h, work, cache);
  RunBlocks(RopeTable(config_, length, before), h, work, cache);
}

void Transformer::RunBlocks(const RopeTable& rope, MatrixView<float> h, Workspace& work,
                            KvCache* cache) const {
  const BlockShape shape{config_, rope};
  for (size_t i = 0; i < weights_.blocks.size(); ++i) {
    const KvView past = cache == nullptr ? KvView{} : cache->layer(i);
    BlockForward(shape, weights_.blocks[i], h, work, {}, cache == nullptr ? nullptr : &past);
  }
  RmsNorm(h, weights_.final_norm, config_.rms_eps, h, work.team());
}

Matrix<float> Transformer::Hidden(std::span<const uint32_t> ids, Workspace& work) const {
  QR_CHECK_LE(ids.size(), max_tokens_);
  Matrix<float> h(ids.size(), config_.hidden);
  Forward(ids, h.view(), work, nullptr);
  return h;
}

MatrixView<const float> Transformer::Extend(std::span<const uint32_t> ids, KvCache& cache,
                                            Workspace& work) const {
  QR_CHECK_EQ(cache.keys.size(), weights_.blocks.size());
  QR_CHECK_LE(cache.tokens + ids.size(), cache.capacity());
  QR_CHECK_LE(cache.tokens + ids.size(), max_tokens_);
  const MatrixView<float> h = Shaped(work.hidden, ids.size(), config_.hidden);
  Forward(ids, h, work, &cache);
  cache.tokens += ids.size();
  return h;
}

void Transformer::Logits(MatrixView<const float> hidden, MatrixView<float> logits,
                         Workspace& work) const {
  ApplyLinear(weights_.head, hidden, logits, work.linear);
}

}  // namespace quantref
