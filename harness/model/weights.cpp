#include "harness/model/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/half.h"
#include "harness/base/parallel.h"
#include "harness/kernels/dequantize.h"
#include "harness/kernels/isa.h"
#include "harness/model/layout.h"

namespace quantref {

namespace {

constexpr size_t kPanel = 64;  // rows that are decoded at a time

// The numbers of the rows as FP16 patterns, one row behind the other.
void RoundRows(MatrixView<const float> values, uint16_t* to, const std::string& name,
               HalfLoss& loss) {
  for (size_t r = 0; r < values.rows(); ++r) {
    for (const float value : values.row_span(r)) {
      const uint16_t half = FloatToHalf(value);
      const float rounded = HalfToFloat(half);
      if (!(std::fabs(rounded) <= kMaxHalf)) {
        throw Error(fmt::format("a weight of {} does not fit FP16 (at most {})", value, kMaxHalf),
                    name);
      }
      loss.Add(value, rounded);
      *to++ = half;
    }
  }
}

// The rows of the weight, some at a time, in FP32.
template <typename F>
void ForPanels(const Weight& weight, const F& body) {
  Matrix<float> panel(kPanel, weight.cols());
  for (size_t first = 0; first < weight.rows(); first += kPanel) {
    ThrowIfCancelled();
    const MatrixView<float> rows = panel.view().Rows(0, std::min(kPanel, weight.rows() - first));
    weight.DecodeRows(first, rows);
    body(first, rows);
  }
}

}  // namespace

void HalfLoss::Add(float value, float rounded) {
  vanished += rounded == 0 && value != 0;
  const double difference = static_cast<double>(value) - static_cast<double>(rounded);
  error += difference * difference;
  squares += static_cast<double>(value) * static_cast<double>(value);
}

void CheckHalfLoss(const HalfLoss& loss, const std::string& name, const std::string& hint) {
  constexpr double kMost = 0x1p-11;
  if (loss.error <= kMost * kMost * loss.squares) return;
  throw Error(fmt::format("FP16 is too coarse for numbers this small: rounding changes them by "
                          "{:.2g} of their size (root mean square, expected at most 2^-11), and {} "
                          "become 0",
                          std::sqrt(loss.error / loss.squares), loss.vanished),
              name, hint);
}

Weight::Weight(const Tensor& tensor)
    : dense_(tensor.data),
      dtype_(tensor.dtype),
      rows_(tensor.shape.at(0)),
      cols_(tensor.shape.at(1)) {
  QR_CHECK_EQ(tensor.shape.size(), 2u);
}

Weight::Weight(std::shared_ptr<const PackedMatrix> packed)
    : packed_(std::move(packed)), rows_(packed_->rows()), cols_(packed_->cols()) {}

Weight::Weight(std::shared_ptr<const TiledMatrix> tiled)
    : tiled_(std::move(tiled)), rows_(tiled_->rows()), cols_(tiled_->cols()) {}

Weight::Weight(std::shared_ptr<const EncodedMatrix> encoded)
    : encoded_(std::move(encoded)), rows_(encoded_->rows()), cols_(encoded_->cols()) {}

Weight Weight::WithKernels() const {
  if (packed_ == nullptr || !TiledMatrix::Supports(packed_->scheme(), cols_)) return *this;
  return Weight(std::make_shared<const TiledMatrix>(*packed_)).With(products_);
}

Weight Weight::With(Products products) const {
  Weight result = *this;
  result.products_ = products;
  return result;
}

std::string Weight::CodesSha256() const {
  QR_CHECK(quantized());
  if (packed_ != nullptr) return packed_->Sha256();
  return tiled_ != nullptr ? tiled_->Unpack().Sha256() : encoded_->Sha256();
}

BlockWeights WithKernels(BlockWeights block) {
  for (Linear& linear : block.linears) linear.weight = linear.weight.WithKernels();
  return block;
}

Weight::Weight(Matrix<float> values) : rows_(values.rows()), cols_(values.cols()) {
  const auto owner = std::make_shared<const Matrix<float>>(std::move(values));
  dense_ = reinterpret_cast<const std::byte*>(owner->data());
  owner_ = owner;
  of_checkpoint_ = false;
}

Weight::Weight(std::shared_ptr<const Matrix<uint16_t>> halves, bool of_checkpoint)
    : owner_(halves),
      dense_(reinterpret_cast<const std::byte*>(halves->data())),
      dtype_(DType::kF16),
      of_checkpoint_(of_checkpoint),
      rows_(halves->rows()),
      cols_(halves->cols()) {}

Weight Weight::RoundedToHalf(MatrixView<const float> values, const std::string& name) {
  const auto halves = std::make_shared<Matrix<uint16_t>>(values.rows(), values.cols());
  HalfLoss loss;
  RoundRows(values, halves->data(), name, loss);
  CheckHalfLoss(loss, name);
  return {halves, false};
}

Weight Weight::InHalf(const std::string& name) const {
  if (quantized() || dtype_ == DType::kF16) return *this;
  const auto halves = std::make_shared<Matrix<uint16_t>>(rows_, cols_);
  HalfLoss loss;
  ForPanels(*this, [&](size_t first, MatrixView<const float> rows) {
    RoundRows(rows, halves->row(first), name, loss);
  });
  CheckHalfLoss(loss, name, "model.dtype: native keeps the checkpoint's numbers");
  return {halves, of_checkpoint_};
}

void Weight::DecodeRows(size_t first, MatrixView<float> values) const {
  QR_CHECK_EQ(values.cols(), cols_);
  QR_CHECK_LE(first + values.rows(), rows_);
  if (packed_ != nullptr) return quantref::DecodeRows(*packed_, first, values);
  if (tiled_ != nullptr) return tiled_->DecodeRows(first, values);
  if (encoded_ != nullptr) {
    for (size_t r = 0; r < values.rows(); ++r) encoded_->DecodeRow(first + r, values.row_span(r));
    return;
  }
  const VectorOps& ops = Ops();
  for (size_t r = 0; r < values.rows(); ++r) {
    const std::byte* from = dense_ + (first + r) * cols_ * DTypeBytes(dtype_);
    float* to = values.row(r);
    if (dtype_ == DType::kF32) {
      std::copy_n(reinterpret_cast<const float*>(from), cols_, to);
    } else if (dtype_ == DType::kF16) {
      ops.half_to_float(reinterpret_cast<const uint16_t*>(from), to, cols_);
    } else {
      ops.bfloat_to_float(reinterpret_cast<const uint16_t*>(from), to, cols_);
    }
  }
}

std::optional<DenseRows> Weight::dense() const {
  if (dense_ == nullptr) return std::nullopt;
  using Type = DenseRows::Type;
  const Type type = dtype_ == DType::kF16    ? Type::kFp16
                    : dtype_ == DType::kBF16 ? Type::kBf16
                                             : Type::kFp32;
  return DenseRows{dense_, type, rows_, cols_};
}

Matrix<float> Weight::Decode() const {
  Matrix<float> values(rows_, cols_);
  DecodeRows(0, values.view());
  return values;
}

size_t Weight::StorageBits() const {
  if (packed_ != nullptr) return packed_->StorageBits();
  if (tiled_ != nullptr) return tiled_->StorageBits();
  if (encoded_ != nullptr) return encoded_->StorageBits();
  return rows_ * cols_ * 8 * DTypeBytes(dtype_);
}

namespace {

std::string ShapeName(const std::vector<size_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

void RequireFinite(const std::string& name, std::span<const float> values,
                   const std::filesystem::path& dir) {
  for (float value : values) {
    if (std::isfinite(value)) continue;
    throw Error(fmt::format("tensor {}: expected finite numbers, found {}", name, value),
                dir.string());
  }
}

// Takes tensors out of a checkpoint, remembering which, so that what is left over can be refused.
// Vectors are rounded to FP16 where `type` asks for it, matrices are left as they are.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, WeightType type) : checkpoint_(checkpoint), type_(type) {}

  Linear TakeLinear(const std::string& name, size_t rows, size_t cols, bool bias) {
    Linear linear{name, Weight(Take(FileName(name) + ".weight", {rows, cols})), {}};
    if (bias) linear.bias = TakeVector(FileName(name) + ".bias", rows);
    return linear;
  }

  // What is not the head lives below "model." in the file.
  static std::string FileName(const std::string& name) {
    return name == kHeadName ? name : "model." + name;
  }

  std::vector<float> TakeNorm(const std::string& name, size_t size) {
    return TakeVector(FileName(name) + ".weight", size);
  }

  // Rotary frequency buffers, which old exporters wrote, say nothing that config.json does not.
  void RefuseLeftOvers() const {
    for (const std::string& name : checkpoint_.names()) {
      if (taken_.contains(name) || name.ends_with(".rotary_emb.inv_freq")) continue;
      throw Error(fmt::format("tensor {} belongs to nothing that config.json describes", name),
                  checkpoint_.dir().string(),
                  "parts that its family does not have here (experts, adapters, other norms) are "
                  "not supported");
    }
  }

  const Tensor& Take(const std::string& file_name, const std::vector<size_t>& shape) {
    const Tensor& tensor = checkpoint_.Get(file_name);
    if (tensor.shape != shape) {
      throw Error(fmt::format("tensor {}: config.json asks for shape {}, found {}", file_name,
                              ShapeName(shape), ShapeName(tensor.shape)),
                  checkpoint_.dir().string());
    }
    if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kF16 &&
        tensor.dtype != DType::kBF16) {
      throw Error(fmt::format("tensor {}: expected F32, F16 or BF16, found {}", file_name,
                              DTypeName(tensor.dtype)),
                  checkpoint_.dir().string());
    }
    taken_.insert(file_name);
    return tensor;
  }

 private:
  std::vector<float> TakeVector(const std::string& file_name, size_t size) {
    Tensor tensor = Take(file_name, {size});
    tensor.shape = {1, size};
    std::vector<float> values(size);
    Weight weight(tensor);
    weight.DecodeRows(0, {values.data(), 1, size});
    RequireFinite(file_name, values, checkpoint_.dir());
    if (type_ == WeightType::kFp16)
      weight.InHalf(file_name).DecodeRows(0, {values.data(), 1, size});
    return values;
  }

  const Checkpoint& checkpoint_;
  WeightType type_;
  std::set<std::string> taken_;
};

BlockWeights TakeBlock(Loader& loader, const ModelConfig& config, size_t layer) {
  const BlockLayout layout = LayoutOf(config, layer);
  BlockWeights block;
  for (const NormRow& norm : layout.norms)
    block.norms[norm.index] = loader.TakeNorm(NameInModel(layer, norm.name), norm.size);
  for (const LinearRow& row : layout.linears) {
    block.linears[row.index] =
        loader.TakeLinear(NameInModel(layer, row.name), row.rows, row.cols, row.bias);
  }
  return block;
}

// A tied model's file may hold the head once more; then it must be the embedding.
void CheckTiedHead(Loader& loader, const ModelConfig& config, const Checkpoint& checkpoint) {
  const std::string of_head = Loader::FileName(kHeadName) + ".weight";
  const std::string of_embedding = Loader::FileName(kEmbeddingName) + ".weight";
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

// The pointers to a model's matrices, each once.
template <typename Weights, typename LinearPointer>
std::vector<LinearPointer> LinearsOf(Weights& weights) {
  std::vector<LinearPointer> linears = {&weights.embedding};
  for (auto& block : weights.blocks) {
    for (auto& linear : block.linears) {
      if (!linear.name.empty()) linears.push_back(&linear);
    }
  }
  if (!weights.head.weight.SharesStorage(weights.embedding.weight))
    linears.push_back(&weights.head);
  return linears;
}

}  // namespace

std::vector<Linear*> AllLinears(ModelWeights& weights) {
  return LinearsOf<ModelWeights, Linear*>(weights);
}

std::vector<const Linear*> AllLinears(const ModelWeights& weights) {
  return LinearsOf<const ModelWeights, const Linear*>(weights);
}

size_t OwnBytes(const ModelWeights& weights) {
  size_t bytes = 0;
  for (const Linear* linear : AllLinears(weights)) bytes += linear->weight.OwnBytes();
  return bytes;
}

ModelWeights With(ModelWeights weights, Products products) {
  const auto set = [&](Linear& linear) { linear.weight = linear.weight.With(products); };
  for (BlockWeights& block : weights.blocks) {
    for (Linear& linear : block.linears) set(linear);
  }
  set(weights.embedding);
  set(weights.head);
  return weights;
}

std::vector<std::string> DecodedEachCall(const ModelWeights& weights) {
  std::vector<std::string> names;
  const auto add = [&](const Linear& linear) {
    if (linear.weight.quantized() && linear.weight.tiled() == nullptr) names.push_back(linear.name);
  };
  for (const BlockWeights& block : weights.blocks) {
    for (const Linear& linear : block.linears) add(linear);
  }
  add(weights.head);
  return names;
}

ModelWeights MapWeights(const ModelConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                        WeightType type) {
  Loader loader(*checkpoint, type);
  ModelWeights weights;
  weights.embedding = loader.TakeLinear(kEmbeddingName, config.vocab, config.hidden, false);
  for (size_t layer = 0; layer < config.layers.size(); ++layer)
    weights.blocks.push_back(TakeBlock(loader, config, layer));
  weights.final_norm = loader.TakeNorm("norm", config.hidden);
  if (config.tied_head) {
    CheckTiedHead(loader, config, *checkpoint);
    weights.head = {kHeadName, weights.embedding.weight, {}};
  } else {
    weights.head = loader.TakeLinear(kHeadName, config.vocab, config.hidden, false);
  }
  loader.RefuseLeftOvers();
  weights.checkpoint = std::move(checkpoint);
  return weights;
}

void ReadWeights(ModelWeights& weights, WeightType type, size_t threads) {
  const bool tied = weights.head.weight.SharesStorage(weights.embedding.weight);
  const std::vector<Linear*> all = AllLinears(weights);
  ParallelFor(all.size(), threads, [&](size_t i, size_t) {
    Linear& linear = *all[i];
    ForPanels(linear.weight, [&](size_t, MatrixView<const float> rows) {
      RequireFinite(linear.name, {rows.data(), rows.rows() * rows.cols()},
                    weights.checkpoint->dir());
    });
    if (type == WeightType::kFp16) linear.weight = linear.weight.InHalf(linear.name);
  });
  if (tied) weights.head.weight = weights.embedding.weight;
}

ModelWeights LoadWeights(const ModelConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                         WeightType type, size_t threads) {
  ModelWeights weights = MapWeights(config, std::move(checkpoint), type);
  ReadWeights(weights, type, threads);
  return weights;
}

}  // namespace quantref
