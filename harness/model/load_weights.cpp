#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <set>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/model/foreign_checkpoint.h"
#include "harness/model/layout.h"
#include "harness/model/tensor_names.h"
#include "harness/model/weights.h"
#include "harness/quant/ggml_blocks.h"

namespace quantref {
namespace {

constexpr size_t kPanelRows = 64;  // that are looked at together

std::string ShapeName(const std::vector<size_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

// Without a branch a value: a model has hundreds of millions.
bool AllFinite(std::span<const float> values) {
  constexpr uint32_t kMagnitude = 0x7fffffff, kInfinite = 0x7f800000;
  uint32_t largest = 0;
  for (const float value : values)
    largest = std::max(largest, std::bit_cast<uint32_t>(value) & kMagnitude);
  return largest < kInfinite;
}

void RequireFinite(const std::string& name, std::span<const float> values,
                   const std::filesystem::path& dir) {
  if (AllFinite(values)) return;
  for (float value : values) {
    if (std::isfinite(value)) continue;
    throw Error(fmt::format("tensor {}: expected finite numbers, found {}", name, value),
                dir.string(),
                "the file is damaged, or was saved from a model that had diverged: download or "
                "convert it again");
  }
}

// A matrix of another tool's checkpoint, in the place of its weight until it is read.
class PendingMatrix final : public EncodedMatrix {
 public:
  // `decode`: into what stands for blocks of the checkpoint.
  PendingMatrix(size_t rows, size_t cols, ForeignMatrix found, bool decode)
      : rows_(rows), cols_(cols), found_(std::move(found)), decode_(decode) {}

  bool decodes() const { return decode_; }

  size_t rows() const override { return rows_; }
  size_t cols() const override { return cols_; }
  void DecodeRow(size_t, std::span<float>) const override { QR_CHECK(false); }
  size_t StorageBits() const override { return 0; }
  std::string Sha256() const override { return {}; }

  Weight Read(std::vector<CountedNote>& notes) const {
    Weight weight = found_.read(notes);
    QR_CHECK(weight.rows() == rows_ && weight.cols() == cols_);
    return decode_ ? weight.AsBlocks() : weight;
  }

 private:
  size_t rows_, cols_;
  ForeignMatrix found_;
  bool decode_;
};

// Takes tensors out of a checkpoint, remembering which, so that what is left over can be refused.
// Vectors are rounded to FP16 where `type` asks for it, matrices are left as they are.
class Loader {
 public:
  Loader(const Family& family, const Checkpoint& checkpoint, WeightType type,
         MatrixSources* sources)
      : family_(family),
        checkpoint_(checkpoint),
        type_(type),
        sources_(sources),
        names_(family, checkpoint) {}

  Linear TakeLinear(const std::string& name, size_t rows, size_t cols, bool bias) {
    Linear linear = TakeMatrix(name, rows, cols);
    if (bias) linear.bias = TakeVector(FileName(name) + ".bias", rows);
    return linear;
  }

  std::string FileName(const std::string& name) const { return names_.Of(name); }

  // Gains as they are multiplied.
  std::vector<float> TakeNorm(const std::string& name, size_t size) {
    std::vector<float> gain = TakeVector(FileName(name) + ".weight", size);
    if (family_.norm != Family::Norm::kRmsPlusOne) return gain;
    for (float& value : gain) value += 1;
    return gain;
  }
  std::vector<float> TakeNormBias(const std::string& name, size_t size) {
    return TakeVector(FileName(name) + ".bias", size);
  }

  // A matrix that is not multiplied: rounded as vectors are.
  std::shared_ptr<const Matrix<float>> TakeTable(const std::string& name, size_t rows,
                                                 size_t cols) {
    const std::string file_name = FileName(name) + ".weight";
    const Weight weight(Take(file_name, {rows, cols}));
    auto values = std::make_shared<Matrix<float>>(weight.Decode());
    RequireFinite(file_name, {values->data(), rows * cols}, checkpoint_.dir());
    if (type_ == WeightType::kFp16) *values = weight.InHalf(file_name).Decode();
    return values;
  }

  // Rotary frequency buffers, which old exporters wrote, say nothing that config.json does not.
  void RefuseLeftOvers() const {
    for (const std::string& name : checkpoint_.names()) {
      if (taken_.contains(name) || name.ends_with(".rotary_emb.inv_freq") || IsForeign(name))
        continue;
      throw Error(
          fmt::format("tensor {} belongs to nothing that {} describes", name, ConfigName()),
          checkpoint_.dir().string(),
          "parts that its family does not have here (experts, adapters, other norms, second "
          "scales of NVFP4) are not supported");
    }
  }

  const Tensor& Take(const std::string& file_name, const std::vector<size_t>& shape) {
    const Tensor& tensor = checkpoint_.Get(file_name);
    if (tensor.shape != shape) {
      throw Error(fmt::format("tensor {}: {} asks for shape {}, found {}", file_name, ConfigName(),
                              ShapeName(shape), ShapeName(tensor.shape)),
                  checkpoint_.dir().string());
    }
    RequireDecodable(tensor);
    taken_.insert(file_name);
    return tensor;
  }

  // What another tool's checkpoint has beside matrices and norms.
  void PassByOthers() {
    if (sources_ == nullptr || sources_->foreign == nullptr) return;
    for (std::string& name : sources_->foreign->Others(sources_->notes))
      taken_.insert(std::move(name));
  }

 private:
  Linear TakeMatrix(const std::string& name, size_t rows, size_t cols) {
    const std::string file_name = FileName(name);
    if (sources_ != nullptr && sources_->foreign != nullptr) {
      if (auto found = sources_->foreign->Find(file_name, rows, cols))
        return TakeForeign(name, rows, cols, std::move(*found));
    }
    const Tensor& tensor = Take(file_name + ".weight", {rows, cols});
    if (sources_ != nullptr) {
      const bool coded = tensor.dtype == DType::kBlocks;
      sources_->found.push_back({name, std::string(tensor.type_name()), rows, cols, tensor.bytes,
                                 coded, coded ? CodesOf(tensor.blocks) : StoredCodes{}});
    }
    return {name, Weight(tensor), {}};
  }

  // A rule for inputs is a part of the model, and a reference rounds none.
  void RefuseRoundedInputs(const std::string& name, const ForeignMatrix& found) const {
    if (!sources_->decode || !found.activations) return;
    throw Error(fmt::format("as a reference not supported: its quantization_config has the inputs "
                            "of {} ({}) rounded, too",
                            name, found.type),
                checkpoint_.dir().string(),
                "as a candidate (--candidate LABEL=PATH) they are rounded as it says; as the "
                "reference take the model that it was made from");
  }

  Linear TakeForeign(const std::string& name, size_t rows, size_t cols, ForeignMatrix found) {
    RefuseRoundedInputs(name, found);
    MatrixFacts facts{name, found.type, rows, cols, 0, true, found.codes, found.other};
    for (const std::string& tensor : found.tensors) {
      facts.bytes += checkpoint_.Get(tensor).bytes;
      taken_.insert(tensor);
    }
    sources_->found.push_back(std::move(facts));
    Linear linear{.name = name, .weight = {}, .bias = {}, .activations = found.activations};
    linear.weight = Weight(
        std::make_shared<const PendingMatrix>(rows, cols, std::move(found), sources_->decode));
    return linear;
  }

  std::string_view ConfigName() const {
    return checkpoint_.gguf() == nullptr ? "config.json" : "the file's header";
  }

  void RequireDecodable(const Tensor& tensor) const {
    const bool blocks = tensor.dtype == DType::kBlocks;
    const bool plain =
        tensor.dtype == DType::kF32 || tensor.dtype == DType::kF16 || tensor.dtype == DType::kBF16;
    if (plain || (blocks && DecodesGgml(tensor.blocks))) return;
    throw Error(fmt::format("tensor {}: expected {}, found {}", tensor.name,
                            blocks ? DecodedGgmlTypes() : "F32, F16 or BF16", tensor.type_name()),
                checkpoint_.dir().string(),
                blocks ? "this type of blocks is not supported: convert the model to another" : "");
  }

  std::vector<float> TakeVector(const std::string& file_name, size_t size) {
    Tensor tensor = Take(file_name, {size});
    // As a column where elements, which are rows then, stand in another order.
    const bool column = tensor.head_rows > 0;
    tensor.shape = column ? std::vector<size_t>{size, 1} : std::vector<size_t>{1, size};
    const float added = tensor.plus_one ? 1 : 0;
    tensor.plus_one = false;
    Matrix<float> values = Weight(tensor).Decode();
    const std::span<float> numbers(values.data(), size);
    for (float& number : numbers) number -= added;
    RequireFinite(file_name, numbers, checkpoint_.dir());
    if (type_ == WeightType::kFp16) values = Weight(std::move(values)).InHalf(file_name).Decode();
    return {values.data(), values.data() + size};
  }

  bool IsForeign(const std::string& name) const {
    return std::any_of(family_.foreign.begin(), family_.foreign.end(),
                       [&](std::string_view part) { return name.starts_with(part); });
  }

  const Family& family_;
  const Checkpoint& checkpoint_;
  WeightType type_;
  MatrixSources* sources_;  // nullptr: nobody asks
  TensorNames names_;
  std::set<std::string> taken_;
};

BlockWeights TakeBlock(Loader& loader, const ModelConfig& config, size_t layer) {
  const BlockLayout layout = LayoutOf(config, layer);
  BlockWeights block;
  for (const NormRow& norm : layout.norms) {
    const std::string name = NameInModel(layer, norm.name);
    block.norms[norm.index] = loader.TakeNorm(name, norm.size);
    if (norm.bias) block.norm_biases[norm.index] = loader.TakeNormBias(name, norm.size);
  }
  for (const LinearRow& row : layout.linears) {
    block.linears[row.index] =
        loader.TakeLinear(NameInModel(layer, row.name), row.rows, row.cols, row.bias);
  }
  return block;
}

// A tied model's file may hold the head once more; then it must be the embedding.
void CheckTiedHead(Loader& loader, const ModelConfig& config, const Checkpoint& checkpoint) {
  const std::string of_head = loader.FileName(kHeadName) + ".weight";
  const std::string of_embedding = loader.FileName(kEmbeddingName) + ".weight";
  if (checkpoint.Find(of_head) == nullptr) return;
  const Tensor& head = loader.Take(of_head, {config.vocab, config.hidden});
  const Tensor& embedding = checkpoint.Get(of_embedding);
  if (head.bytes == embedding.bytes &&
      std::equal(head.data, head.data + head.bytes, embedding.data))
    return;
  throw Error(
      fmt::format("{} differs from {} although tie_word_embeddings is true", of_head, of_embedding),
      checkpoint.dir().string(), "set tie_word_embeddings to what the model was trained with");
}

void RequireFinite(const Linear& linear, const std::filesystem::path& dir) {
  const Weight& weight = linear.weight;
  Matrix<float> panel(kPanelRows, weight.cols());
  for (size_t first = 0; first < weight.rows(); first += kPanelRows) {
    ThrowIfCancelled();
    const MatrixView<float> rows =
        panel.view().Rows(0, std::min(kPanelRows, weight.rows() - first));
    weight.DecodeRows(first, rows);
    RequireFinite(linear.name, {rows.data(), rows.rows() * rows.cols()}, dir);
  }
}

// What reads a matrix: products of a block, look-ups of rows alone, or the head's products, with
// look-ups where it is tied.
enum class Use { kInBlock, kLookedUp, kHead };

Use UseOf(const Linear& linear, const ModelWeights& weights, bool tied) {
  if (&linear == &weights.head || (tied && &linear == &weights.embedding)) return Use::kHead;
  return &linear == &weights.embedding ? Use::kLookedUp : Use::kInBlock;
}

// In the form that is read.
Weight Held(const Linear& linear, WeightType type, Use use) {
  const Weight& weight = linear.weight;
  const bool rounds = type == WeightType::kFp16, blocks = weight.in_blocks();
  if (blocks && use == Use::kLookedUp) return rounds ? weight.RoundedRows(linear.name) : weight;
  const Weight numbers = rounds ? weight.InHalf(linear.name) : weight.Decoded();
  return blocks && use == Use::kHead ? weight.ReadAs(numbers) : numbers;
}

// Rows that are looked up have no inputs; what a tied head does with its own, which the embedding's
// rule does not say, is not guessed.
void DropInputsOfRows(const ModelConfig& config, const Checkpoint& checkpoint, Linear& embedding) {
  if (!embedding.activations) return;
  if (config.tied_head) {
    throw Error("not supported: rounded inputs of a head that is the embedding",
                checkpoint.dir().string(), "quantize it with embedding and head kept");
  }
  embedding.activations.reset();
}

}  // namespace

ModelWeights MapWeights(const ModelConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                        WeightType type, MatrixSources* sources) {
  const Family& family = *config.family;
  Loader loader(family, *checkpoint, type, sources);
  ModelWeights weights;
  weights.embedding = loader.TakeLinear(kEmbeddingName, config.vocab, config.hidden, false);
  DropInputsOfRows(config, *checkpoint, weights.embedding);
  for (size_t layer = 0; layer < config.layers.size(); ++layer)
    weights.blocks.push_back(TakeBlock(loader, config, layer));
  const std::string final_norm(family.final_norm);
  weights.final_norm = loader.TakeNorm(final_norm, config.hidden);
  if (family.norm == Family::Norm::kLayer)
    weights.final_norm_bias = loader.TakeNormBias(final_norm, config.hidden);
  if (family.learned_positions) {
    weights.positions =
        loader.TakeTable("embed_positions", config.context + kPositionOffset, config.hidden);
  }
  if (config.tied_head) {
    CheckTiedHead(loader, config, *checkpoint);
    weights.head = {kHeadName, weights.embedding.weight, {}};
  } else {
    weights.head = loader.TakeLinear(kHeadName, config.vocab, config.hidden, false);
  }
  loader.PassByOthers();
  loader.RefuseLeftOvers();
  weights.checkpoint = std::move(checkpoint);
  return weights;
}

void ReadWeights(ModelWeights& weights, WeightType type, size_t threads,
                 std::vector<CountedNote>* notes) {
  const bool tied = HeadIsTied(weights);
  const std::vector<Linear*> all = AllLinears(weights);
  std::vector<std::vector<CountedNote>> noticed(all.size());
  ParallelFor(all.size(), threads, [&](size_t i, size_t) {
    Linear& linear = *all[i];
    if (const auto* pending = dynamic_cast<const PendingMatrix*>(linear.weight.encoded())) {
      const bool decodes = pending->decodes();
      linear.weight = pending->Read(noticed[i]);
      if (!decodes) return RequireFinite(linear, weights.checkpoint->dir());
    }
    // Before what is not finite is refused by its rounding; else once blocks are decoded.
    if (type == WeightType::kFp16) RequireFinite(linear, weights.checkpoint->dir());
    linear.weight = Held(linear, type, UseOf(linear, weights, tied));
    if (type != WeightType::kFp16) RequireFinite(linear, weights.checkpoint->dir());
  });
  if (tied) weights.head.weight = weights.embedding.weight;
  if (notes == nullptr) return;
  for (const std::vector<CountedNote>& of_matrix : noticed) AddNotes(of_matrix, *notes);
}

ModelWeights LoadWeights(const ModelConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                         WeightType type, size_t threads) {
  ModelWeights weights = MapWeights(config, std::move(checkpoint), type);
  ReadWeights(weights, type, threads);
  return weights;
}

}  // namespace quantref
