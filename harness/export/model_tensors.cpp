#include "harness/export/model_tensors.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/half.h"
#include "harness/export/packed_codes.h"
#include "harness/model/layout.h"
#include "harness/model/tensor_names.h"

namespace quantref {
namespace {

uint16_t CutToBFloat(float value) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}

bool IsHalf(float value) { return RoundToHalf(value) == value; }
bool IsBFloat(float value) { return BFloatToFloat(CutToBFloat(value)) == value; }

template <typename Narrow>
std::vector<uint16_t> Narrowed(const std::vector<float>& values, const Narrow& narrow) {
  std::vector<uint16_t> narrowed(values.size());
  std::transform(values.begin(), values.end(), narrowed.begin(), narrow);
  return narrowed;
}

TensorToWrite OfHalves(std::string name, DType dtype, std::vector<size_t> shape,
                       std::vector<uint16_t> halves) {
  return {std::move(name), dtype, std::move(shape),
          [halves = std::move(halves)](const ByteSink& sink) { sink(AsBytes(halves)); }};
}

// In the narrowest type that holds all of them.
TensorToWrite OfNumbers(std::string name, std::vector<size_t> shape, std::vector<float> values) {
  if (std::all_of(values.begin(), values.end(), IsHalf))
    return OfHalves(std::move(name), DType::kF16, std::move(shape), Narrowed(values, FloatToHalf));
  if (std::all_of(values.begin(), values.end(), IsBFloat))
    return OfHalves(std::move(name), DType::kBF16, std::move(shape), Narrowed(values, CutToBFloat));
  return {std::move(name), DType::kF32, std::move(shape),
          [values = std::move(values)](const ByteSink& sink) { sink(AsBytes(values)); }};
}

// A matrix that is not quantized.
TensorToWrite OfDense(std::string name, const Weight& weight) {
  const std::optional<DenseRows> dense = weight.dense();
  QR_CHECK(dense.has_value());  // of a folder's checkpoint all are
  const DType dtype = dense->type == DenseRows::Type::kFp16   ? DType::kF16
                      : dense->type == DenseRows::Type::kBf16 ? DType::kBF16
                                                              : DType::kF32;
  const std::string_view bytes(static_cast<const char*>(dense->data),
                               dense->rows * dense->cols * dense->element_bytes());
  return {std::move(name), dtype, {dense->rows, dense->cols}, [bytes](const ByteSink& sink) {
            sink(bytes);
          }};
}

class TensorLister {
 public:
  TensorLister(const FinishedCell& cell, const TensorsOfMatrix& quantized)
      : config_(cell.config),
        weights_(cell.weights),
        names_(*cell.config.family, *cell.weights.checkpoint),
        quantized_(quantized) {}

  std::vector<TensorToWrite> List() && {
    PutLinear(weights_.embedding, false);
    for (size_t layer = 0; layer < weights_.blocks.size(); ++layer) PutBlock(layer);
    PutNorm(std::string(config_.family->final_norm), weights_.final_norm, weights_.final_norm_bias,
            config_.family->norm == Family::Norm::kLayer);
    if (weights_.positions != nullptr) {
      const Matrix<float>& table = *weights_.positions;
      tensors_.push_back(OfNumbers(names_.Of("embed_positions") + ".weight",
                                   {table.rows(), table.cols()},
                                   {table.data(), table.data() + table.rows() * table.cols()}));
    }
    if (!config_.tied_head) PutLinear(weights_.head, false);
    PutForeign();
    return std::move(tensors_);
  }

 private:
  void PutLinear(const Linear& linear, bool bias) {
    QR_CHECK(linear.adapter == nullptr);  // CheckExportable
    const std::string name = names_.Of(linear.name);
    if (linear.weight.quantized()) {
      for (TensorToWrite& tensor : quantized_(linear, name)) tensors_.push_back(std::move(tensor));
    } else {
      tensors_.push_back(OfDense(name + ".weight", linear.weight));
    }
    QR_CHECK(bias || linear.bias.empty());
    if (!bias) return;
    std::vector<float> values = linear.bias;
    values.resize(linear.weight.rows());  // one that was folded away is 0
    const size_t size = values.size();
    tensors_.push_back(OfNumbers(name + ".bias", {size}, std::move(values)));
  }

  void PutNorm(const std::string& name, std::vector<float> gain, std::vector<float> bias,
               bool has_bias) {
    const size_t size = gain.size();
    if (config_.family->norm == Family::Norm::kRmsPlusOne) {
      for (float& value : gain) value = WithoutOne(value, name);
    }
    tensors_.push_back(OfNumbers(names_.Of(name) + ".weight", {size}, std::move(gain)));
    if (!has_bias) return;
    bias.resize(size);
    tensors_.push_back(OfNumbers(names_.Of(name) + ".bias", {size}, std::move(bias)));
  }

  static float WithoutOne(float gain, const std::string& name) {
    const float stored = gain - 1;
    if (stored + 1 == gain) return stored;
    throw Error("expected gains that are 1 + w of some w", name);
  }

  void PutBlock(size_t layer) {
    const BlockLayout layout = LayoutOf(config_, layer);
    const BlockWeights& block = weights_.blocks[layer];
    for (const NormRow& norm : layout.norms) {
      PutNorm(NameInModel(layer, norm.name), block.norms[norm.index], block.norm_biases[norm.index],
              norm.bias);
    }
    for (const LinearRow& row : layout.linears) PutLinear(block.linears[row.index], row.bias);
  }

  // Parts that read pictures.
  void PutForeign() {
    for (const std::string& name : weights_.checkpoint->names()) {
      const auto& foreign = config_.family->foreign;
      if (std::none_of(foreign.begin(), foreign.end(),
                       [&](std::string_view part) { return name.starts_with(part); }))
        continue;
      const Tensor& tensor = weights_.checkpoint->Get(name);
      const std::string_view bytes(reinterpret_cast<const char*>(tensor.data), tensor.bytes);
      tensors_.push_back(
          {name, tensor.dtype, tensor.shape, [bytes](const ByteSink& sink) { sink(bytes); }});
    }
  }

  const ModelConfig& config_;
  const ModelWeights& weights_;
  const TensorNames names_;
  const TensorsOfMatrix& quantized_;
  std::vector<TensorToWrite> tensors_;
};

}  // namespace

std::vector<TensorToWrite> ModelTensors(const FinishedCell& cell,
                                        const TensorsOfMatrix& quantized) {
  return TensorLister(cell, quantized).List();
}

std::vector<std::string> KeptMatrices(const FinishedCell& cell) {
  const TensorNames names(*cell.config.family, *cell.weights.checkpoint);
  std::vector<std::string> kept;
  for (const Linear* linear : AllLinears(cell.weights)) {
    const bool looked_up = linear == &cell.weights.embedding;
    if (!looked_up && !linear->weight.quantized()) kept.push_back(names.Of(linear->name));
  }
  if (cell.config.tied_head && !cell.weights.embedding.weight.quantized())
    kept.push_back(names.Of(kHeadName));
  return kept;
}

void ForQuantized(const FinishedCell& cell,
                  const std::function<void(const Linear& linear, const std::string& name)>& f) {
  const TensorNames names(*cell.config.family, *cell.weights.checkpoint);
  for (const Linear* linear : AllLinears(cell.weights)) {
    if (linear->weight.quantized()) f(*linear, names.Of(linear->name));
  }
}

}  // namespace quantref
