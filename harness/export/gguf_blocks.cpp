#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/export/formats.h"
#include "harness/export/limits.h"
#include "harness/export/model_tensors.h"
#include "harness/export/packed_codes.h"
#include "harness/io/gguf_names.h"
#include "harness/io/gguf_writer.h"
#include "harness/io/json_file.h"
#include "harness/model/layout.h"
#include "harness/model/tensor_names.h"
#include "harness/quant/ggml_matrix.h"
#include "harness/tokenizer/sentencepiece_gguf.h"

// GGUF files of llama.cpp, architecture llama: symmetric codes of 4, 5 or 8 bits as blocks of 32
// with an FP16 scale each (ggml-common.h),
//   Q4_0  scale, then 16 bytes: code j in the low nibble of byte j, code 16 + j in the high one
//   Q5_0  scale, 32 bits: the fifth bit of each code, then nibbles as in Q4_0
//   Q8_0  scale, then 32 bytes: codes with their sign
// A scale that reaches further than 32 inputs is repeated. Rows of q and k stand as the converter
// has them (Tensor::head_rows); vectors are FP32.

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlockOfGguf = 32;
constexpr char kArchitecture[] = "llama";

std::string WhyNotGguf(const CellToExport& cell) {
  const std::string why = FirstOf(WhyNothing(cell), WhyNotWeightsAlone(cell));
  if (!why.empty()) return why;
  const ModelConfig& config = cell.config;
  if (config.model_type != "llama" && config.model_type != "mistral")
    return fmt::format("is written of llama and mistral, and the model is {}", config.model_type);
  if (config.rope_scaling.kind != RopeScaling::Kind::kNone || config.RotaryDim() != config.head_dim)
    return "is written of models with plain rotary positions";
  if (std::ranges::any_of(config.layers,
                          [](const auto& layer) { return layer.sliding_window > 0; }))
    return "is written of models without sliding windows";
  try {
    VocabularyOfSentencePiece(cell.model / "tokenizer.model");
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& error) {
    return fmt::format("takes tokenizers of SentencePiece alone ({})", error.what());
  }
  return "";
}

std::string WhyNotBlocks(const CellToExport& cell, const PlannedLinear& linear) {
  const std::string why = FirstOf(WhyNotInteger(linear), WhyOrdered(cell, linear));
  if (!why.empty()) return why;
  const WeightScheme& scheme = *linear.scheme;
  if (!scheme.symmetric)
    return "stores a minimum in FP16 (Q4_1), which zero points times scales are not";
  if (scheme.bits != 4 && scheme.bits != 5 && scheme.bits != 8)
    return fmt::format("has symmetric codes of 4, 5 or 8 bits in such blocks, and not of {}",
                       scheme.bits);
  if (scheme.granularity == Granularity::kColumn) return "has no scales that go by column";
  if (scheme.granularity == Granularity::kGroup && scheme.group % kBlockOfGguf != 0)
    return "has a scale for each 32 inputs, of which groups must be multiples";
  if (linear.shape.cols % kBlockOfGguf == 0) return "";
  return fmt::format("has blocks of 32 inputs, which do not divide {}", linear.shape.cols);
}

GgmlType TypeOfCodes(const WeightScheme& scheme) {
  if (scheme.bits == 4) return GgmlType::kQ4_0;
  return scheme.bits == 5 ? GgmlType::kQ5_0 : GgmlType::kQ8_0;
}

void PutHalf(uint16_t half, std::string& bytes) {
  bytes += static_cast<char>(half & 0xff);
  bytes += static_cast<char>(half >> 8);
}

void PutNibbles(std::span<const uint8_t> codes, std::string& bytes) {
  constexpr size_t kHalf = kBlockOfGguf / 2;
  for (size_t j = 0; j < kHalf; ++j)
    bytes += static_cast<char>((codes[j] & 15) | (codes[j + kHalf] & 15) << 4);
}

// The row of blocks that stands for a row of codes.
std::string RowOfBlocks(const PackedMatrix& packed, size_t row, const std::string& name) {
  std::vector<uint8_t> codes(packed.cols());
  packed.GetCodes(row, codes);
  const int bits = packed.scheme().bits;
  std::string bytes;
  for (size_t first = 0; first < codes.size(); first += kBlockOfGguf) {
    const std::span<const uint8_t> block(&codes[first], kBlockOfGguf);
    PutHalf(HalfScale(packed, packed.scales().RowOf(row), packed.scales().ColOf(first), name),
            bytes);
    if (bits == 8) {
      for (const uint8_t code : block) bytes += static_cast<char>(code - 128);
      continue;
    }
    if (bits == 5) {
      uint32_t fifth = 0;
      for (size_t e = 0; e < block.size(); ++e) fifth |= uint32_t{block[e]} >> 4 << e;
      PutHalf(static_cast<uint16_t>(fifth & 0xffff), bytes);
      PutHalf(static_cast<uint16_t>(fifth >> 16), bytes);
    }
    PutNibbles(block, bytes);
  }
  return bytes;
}

// Gives f the rows of a matrix, by their numbers, in the order in which the file has them.
template <typename F>
void ForStoredRows(size_t rows, size_t head_rows, const F& f) {
  std::vector<size_t> order(rows);
  for (size_t row = 0; row < rows; ++row) order[StoredRow(row, head_rows)] = row;
  for (const size_t row : order) f(row);
}

// eos_token_id, of several the first.
std::optional<uint32_t> EosOfConfig(const fs::path& model) {
  nlohmann::json config = ReadJsonFile(model / "config.json");
  nlohmann::json eos = config.is_object() ? config["eos_token_id"] : nlohmann::json();
  if (eos.is_array() && !eos.empty()) eos = nlohmann::json(eos[0]);
  return eos.is_number_unsigned() ? std::optional(eos.get<uint32_t>()) : std::nullopt;
}

class GgufModel {
 public:
  explicit GgufModel(const FinishedCell& cell)
      : cell_(cell),
        config_(cell.config),
        names_(*cell.config.family, *cell.weights.checkpoint),
        vocabulary_(VocabularyOfSentencePiece(cell.model / "tokenizer.model")) {}

  void Write(const fs::path& path) && {
    PutMatrix(cell_.weights.embedding, 0);
    for (size_t layer = 0; layer < cell_.weights.blocks.size(); ++layer) PutBlock(layer);
    PutVector(std::string(config_.family->final_norm), ".weight", cell_.weights.final_norm, 0);
    if (!config_.tied_head) PutMatrix(cell_.weights.head, 0);
    PutKeys();
    PutTokenizer();
    file_.Write(path);
  }

 private:
  std::string InFile(const std::string& name, const char* part) const {
    return GgufName(kArchitecture, names_.Of(name) + part);
  }

  void PutVector(const std::string& name, const char* part, const std::vector<float>& values,
                 size_t head_rows) {
    std::vector<float> stored;
    ForStoredRows(values.size(), head_rows, [&](size_t i) { stored.push_back(values[i]); });
    const size_t size = stored.size();
    file_.Add(InFile(name, part), GgmlType::kF32, {size},
              [stored = std::move(stored)](const ByteSink& sink) { sink(AsBytes(stored)); });
  }

  void PutMatrix(const Linear& linear, size_t head_rows) {
    QR_CHECK(linear.adapter == nullptr);  // CheckExportable
    const Weight& weight = linear.weight;
    const std::string name = InFile(linear.name, ".weight");
    const std::vector<size_t> shape = {weight.rows(), weight.cols()};
    if (weight.quantized()) {
      const GgmlType type = TypeOfCodes(SchemeOfWeight(weight));
      types_.insert(type);
      file_.Add(name, type, shape, [&weight, name, head_rows](const ByteSink& sink) {
        const auto packed = AsPacked(weight);
        RequireColumnsInPlace(*packed, name);
        ForStoredRows(packed->rows(), head_rows,
                      [&](size_t row) { sink(RowOfBlocks(*packed, row, name)); });
      });
      return;
    }
    const std::optional<DenseRows> dense = weight.dense();
    QR_CHECK(dense.has_value());  // of a folder's checkpoint all are
    const GgmlType type = dense->type == DenseRows::Type::kFp16   ? GgmlType::kF16
                          : dense->type == DenseRows::Type::kBf16 ? GgmlType::kBf16
                                                                  : GgmlType::kF32;
    file_.Add(name, type, shape, [dense = *dense, head_rows](const ByteSink& sink) {
      const size_t bytes = dense.cols * dense.element_bytes();
      ForStoredRows(dense.rows, head_rows, [&](size_t row) {
        sink({static_cast<const char*>(dense.data) + row * bytes, bytes});
      });
    });
  }

  void PutBlock(size_t layer) {
    const BlockLayout layout = LayoutOf(config_, layer);
    const BlockWeights& block = cell_.weights.blocks[layer];
    for (const NormRow& norm : layout.norms)
      PutVector(NameInModel(layer, norm.name), ".weight", block.norms[norm.index], 0);
    for (const LinearRow& row : layout.linears) {
      const Linear& linear = block.linears[row.index];
      const size_t head_rows = row.index == kQ || row.index == kK ? config_.head_dim : 0;
      PutMatrix(linear, head_rows);
      if (!row.bias) continue;
      std::vector<float> bias = linear.bias;
      bias.resize(row.rows);  // one that was folded away is 0
      PutVector(linear.name, ".bias", bias, head_rows);
    }
  }

  void PutCount(std::string_view key, size_t value) {
    file_.U32(fmt::format("{}.{}", kArchitecture, key), value);
  }

  // By llama.cpp's numbers for files that are mostly of a type; 1024: a guess.
  size_t FileType() const {
    constexpr size_t kMostlyQ40 = 2, kMostlyQ80 = 7, kMostlyQ50 = 8, kGuessed = 1024;
    if (types_.size() != 1) return kGuessed;
    const GgmlType type = *types_.begin();
    return type == GgmlType::kQ4_0 ? kMostlyQ40 : type == GgmlType::kQ5_0 ? kMostlyQ50 : kMostlyQ80;
  }

  void PutKeys() {
    file_.Text("general.architecture", kArchitecture);
    file_.Text("general.name", cell_.origin.model + " " + cell_.origin.cell);
    file_.U32("general.file_type", FileType());
    file_.U32("general.quantization_version", 2);
    file_.Text("quantref.config", cell_.origin.config);
    file_.Text("quantref.cell", cell_.origin.cell);
    file_.Text("quantref.weights_sha256", cell_.origin.weights_sha256);
    PutCount("block_count", config_.layers.size());
    PutCount("context_length", config_.context);
    PutCount("embedding_length", config_.hidden);
    PutCount("feed_forward_length", config_.intermediate);
    PutCount("attention.head_count", config_.heads);
    PutCount("attention.head_count_kv", config_.kv_heads);
    PutCount("attention.key_length", config_.head_dim);
    PutCount("attention.value_length", config_.head_dim);
    PutCount("rope.dimension_count", config_.head_dim);
    PutCount("vocab_size", config_.vocab);
    file_.F32("llama.attention.layer_norm_rms_epsilon", config_.rms_eps);
    file_.F32("llama.rope.freq_base", config_.rope_theta);
  }

  // The embedding may have more rows than there are tokens.
  void PutTokenizer() {
    for (size_t id = vocabulary_.tokens.size(); id < config_.vocab; ++id) {
      vocabulary_.tokens.push_back(fmt::format("[PAD{}]", id));
      vocabulary_.scores.push_back(0);
      vocabulary_.token_types.push_back(static_cast<int32_t>(GgufTokenType::kUnused));
    }
    file_.Text("tokenizer.ggml.model", vocabulary_.model);
    file_.Text("tokenizer.ggml.pre", *vocabulary_.pre);
    file_.Texts("tokenizer.ggml.tokens", vocabulary_.tokens);
    file_.Floats("tokenizer.ggml.scores", vocabulary_.scores);
    file_.Integers("tokenizer.ggml.token_type", vocabulary_.token_types);
    const std::optional<uint32_t> bos = vocabulary_.bos_id ? vocabulary_.bos_id : config_.bos_id;
    if (bos) file_.U32("tokenizer.ggml.bos_token_id", *bos);
    const std::optional<uint32_t> eos =
        vocabulary_.eos_id ? vocabulary_.eos_id : EosOfConfig(cell_.model);
    if (eos) file_.U32("tokenizer.ggml.eos_token_id", *eos);
    if (vocabulary_.unknown_id)
      file_.U32("tokenizer.ggml.unknown_token_id", *vocabulary_.unknown_id);
    file_.Bool("tokenizer.ggml.add_bos_token", *vocabulary_.add_bos && bos.has_value());
    file_.Bool("tokenizer.ggml.add_eos_token", false);
    file_.Bool("tokenizer.ggml.add_space_prefix", *vocabulary_.add_space_prefix);
  }

  const FinishedCell& cell_;
  const ModelConfig& config_;
  const TensorNames names_;
  GgufVocabulary vocabulary_;
  GgufWriter file_;
  std::set<GgmlType> types_;  // of quantized matrices
};

}  // namespace

constinit const ExportFormat kGgufBlocks{
    "gguf", "llama.cpp's Q4_0, Q5_0 and Q8_0: symmetric int codes, a scale for each 32 inputs",
    WhyNotGguf, WhyNotBlocks, [](const FinishedCell& cell, const fs::path& folder) {
      GgufModel(cell).Write(folder / "model.gguf");
    }};

}  // namespace quantref
