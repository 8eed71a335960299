#include "harness/model/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/half.h"
#include "harness/kernels/dequantize.h"
#include "harness/kernels/isa.h"
#include "harness/model/has_kernel.h"
#include "harness/quant/ggml_matrix.h"
#include "harness/quant/half_rows.h"

namespace quantref {

namespace {

constexpr size_t kDecodedRows = 64;  // rows that are decoded at a time
constexpr char kNativeHint[] = "the type native keeps the checkpoint's numbers";

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
  Matrix<float> panel(kDecodedRows, weight.cols());
  for (size_t first = 0; first < weight.rows(); first += kDecodedRows) {
    ThrowIfCancelled();
    const MatrixView<float> rows =
        panel.view().Rows(0, std::min(kDecodedRows, weight.rows() - first));
    weight.DecodeRows(first, rows);
    body(first, rows);
  }
}

// Packed codes as what their rows decode to.
class PackedRows final : public EncodedMatrix {
 public:
  explicit PackedRows(std::shared_ptr<const PackedMatrix> packed) : packed_(std::move(packed)) {}

  size_t rows() const override { return packed_->rows(); }
  size_t cols() const override { return packed_->cols(); }
  void DecodeRow(size_t row, std::span<float> values) const override {
    DecodeRows(*packed_, row, {values.data(), 1, values.size()});
  }
  size_t StorageBits() const override { return packed_->StorageBits(); }
  std::string Sha256() const override { return packed_->Sha256(); }

 private:
  std::shared_ptr<const PackedMatrix> packed_;
};

bool FitsHalf(const Weight& weight) {
  Matrix<float> row(1, weight.cols());
  for (size_t r = 0; r < weight.rows(); ++r) {
    weight.DecodeRows(r, row.view());
    const auto values = row.view().row_span(0);
    if (!std::ranges::all_of(values, [](float v) { return RoundToHalf(v) == v; })) return false;
  }
  return true;
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

Weight::Weight(const Tensor& tensor) : rows_(tensor.shape.at(0)), cols_(tensor.shape.at(1)) {
  QR_CHECK_EQ(tensor.shape.size(), 2u);
  QR_CHECK(!tensor.plus_one);
  if (tensor.dtype == DType::kBlocks) {
    encoded_ = std::make_shared<const GgmlMatrix>(tensor);
    return;
  }
  dtype_ = tensor.dtype;
  dense_ = tensor.data;
  if (tensor.head_rows > 0) CopyRows(tensor);
}

void Weight::CopyRows(const Tensor& tensor) {
  const size_t bytes = tensor.bytes / rows_;
  const auto copy = std::make_shared<Matrix<std::byte>>(rows_, bytes);
  for (size_t row = 0; row < rows_; ++row) {
    std::copy_n(tensor.data + StoredRow(row, tensor.head_rows) * bytes, bytes, copy->row(row));
  }
  dense_ = copy->data();
  owner_ = copy;
}

Weight::Weight(std::shared_ptr<const PackedMatrix> packed)
    : packed_(std::move(packed)), rows_(packed_->rows()), cols_(packed_->cols()) {}

Weight::Weight(std::shared_ptr<const TiledMatrix> tiled)
    : tiled_(std::move(tiled)), rows_(tiled_->rows()), cols_(tiled_->cols()) {}

Weight::Weight(std::shared_ptr<const EncodedMatrix> encoded)
    : encoded_(std::move(encoded)),
      of_checkpoint_(false),
      rows_(encoded_->rows()),
      cols_(encoded_->cols()) {}

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

Weight OutlierWeights(const Weight& weight, const std::string& name) {
  const Matrix<float> values = weight.Decode();
  Matrix<float> by_input(values.cols(), values.rows());
  for (size_t r = 0; r < values.rows(); ++r) {
    for (size_t c = 0; c < values.cols(); ++c) by_input(c, r) = values(r, c);
  }
  return Weight::RoundedToHalf(by_input.view(), name);
}

Weight Weight::InHalf(const std::string& name) const {
  if (quantized() || dtype_ == DType::kF16) return *this;
  const auto halves = std::make_shared<Matrix<uint16_t>>(rows_, cols_);
  HalfLoss loss;
  ForPanels(*this, [&](size_t first, MatrixView<const float> rows) {
    RoundRows(rows, halves->row(first), name, loss);
  });
  CheckHalfLoss(loss, name, kNativeHint);
  return {halves, of_checkpoint_};
}

Weight Weight::AsBlocks() const {
  QR_CHECK(tiled_ == nullptr);
  if (packed_ == nullptr && encoded_ == nullptr) return *this;
  Weight blocks(packed_ != nullptr ? std::make_shared<const PackedRows>(packed_) : encoded_);
  blocks.of_checkpoint_ = true;
  return blocks;
}

Weight Weight::Decoded() const {
  if (!in_blocks()) return *this;
  if (FitsHalf(*this)) return InHalf("");
  Weight decoded(Decode());
  decoded.of_checkpoint_ = true;
  return decoded;
}

Weight Weight::RoundedRows(const std::string& name) const {
  QR_CHECK(in_blocks());
  HalfLoss loss;
  std::vector<uint16_t> halves(kDecodedRows * cols_);
  ForPanels(*this, [&](size_t, MatrixView<const float> rows) {
    RoundRows(rows, halves.data(), name, loss);
  });
  CheckHalfLoss(loss, name, kNativeHint);
  Weight rounded(std::make_shared<const HalfRows>(encoded_));
  rounded.of_checkpoint_ = true;
  return rounded;
}

Weight Weight::ReadAs(const Weight& dense) const {
  QR_CHECK(in_blocks() && dense.dense_ != nullptr);
  Weight both = dense;
  both.encoded_ = encoded_;
  both.of_checkpoint_ = true;
  return both;
}

void Weight::DecodeRows(size_t first, MatrixView<float> values) const {
  QR_CHECK_EQ(values.cols(), cols_);
  QR_CHECK_LE(first + values.rows(), rows_);
  if (packed_ != nullptr) return quantref::DecodeRows(*packed_, first, values);
  if (tiled_ != nullptr) return tiled_->DecodeRows(first, values);
  if (dense_ == nullptr) {
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
  return 8 * DenseBytes();
}

namespace {

// The pointers to a model's matrices, each once.
template <typename Weights, typename LinearPointer>
std::vector<LinearPointer> LinearsOf(Weights& weights) {
  std::vector<LinearPointer> linears = {&weights.embedding};
  for (auto& block : weights.blocks) {
    for (auto& linear : block.linears) {
      if (!linear.name.empty()) linears.push_back(&linear);
    }
  }
  if (!HeadIsTied(weights)) linears.push_back(&weights.head);
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
  for (const Linear* linear : AllLinears(weights))
    bytes +=
        linear->weight.OwnBytes() + linear->outlier_weights.OwnBytes() + AdapterBits(*linear) / 8;
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
    const Weight& weight = linear.weight;
    const bool as_it_is = weight.dense().has_value() || HasKernel(linear);
    if (weight.rows() > 0 && !as_it_is) names.push_back(linear.name);
  };
  for (const BlockWeights& block : weights.blocks) {
    for (const Linear& linear : block.linears) add(linear);
  }
  add(weights.head);
  return names;
}

}  // namespace quantref
