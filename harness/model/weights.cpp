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

namespace quantref {

Weight::Weight(const Tensor& tensor, WeightType type)
    : dense_(tensor.data),
      dtype_(tensor.dtype),
      round_to_half_(type == WeightType::kFp16 && tensor.dtype != DType::kF16),
      rows_(tensor.shape.at(0)),
      cols_(tensor.shape.at(1)) {
  QR_CHECK_EQ(tensor.shape.size(), 2u);
}

Weight::Weight(std::shared_ptr<const PackedMatrix> packed)
    : packed_(std::move(packed)), rows_(packed_->rows()), cols_(packed_->cols()) {}

Weight::Weight(std::shared_ptr<const TiledMatrix> tiled)
    : tiled_(std::move(tiled)), rows_(tiled_->rows()), cols_(tiled_->cols()) {}

Weight Weight::WithKernels() const {
  Weight result = *this;
  if (packed_ != nullptr && TiledMatrix::Supports(*packed_))
    result.tiled_ = std::make_shared<const TiledMatrix>(*packed_);
  return result;
}

BlockWeights WithKernels(BlockWeights block) {
  for (Linear* linear : block.linears()) linear->weight = linear->weight.WithKernels();
  return block;
}

Weight::Weight(Matrix<float> values) : rows_(values.rows()), cols_(values.cols()) {
  const auto owner = std::make_shared<const Matrix<float>>(std::move(values));
  dense_ = reinterpret_cast<const std::byte*>(owner->data());
  owner_ = owner;
}

Weight Weight::RoundedToHalf(MatrixView<const float> values, const std::string& name) {
  const auto owner = std::make_shared<Matrix<uint16_t>>(values.rows(), values.cols());
  for (size_t r = 0; r < values.rows(); ++r) {
    for (size_t c = 0; c < values.cols(); ++c) {
      if (!(std::fabs(RoundToHalf(values(r, c))) <= kMaxHalf)) {
        throw Error(
            fmt::format("a weight of {} does not fit FP16 (at most {})", values(r, c), kMaxHalf),
            name);
      }
      (*owner)(r, c) = FloatToHalf(values(r, c));
    }
  }
  Weight weight;
  weight.dense_ = reinterpret_cast<const std::byte*>(owner->data());
  weight.owner_ = owner;
  weight.dtype_ = DType::kF16;
  weight.rows_ = values.rows();
  weight.cols_ = values.cols();
  return weight;
}

void Weight::DecodeRows(size_t first, MatrixView<float> values) const {
  QR_CHECK_EQ(values.cols(), cols_);
  QR_CHECK_LE(first + values.rows(), rows_);
  if (packed_ != nullptr) return quantref::DecodeRows(*packed_, first, values);
  if (tiled_ != nullptr) return tiled_->DecodeRows(first, values);
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
    if (round_to_half_) std::transform(to, to + cols_, to, RoundToHalf);
  }
}

std::optional<DenseRows> Weight::dense() const {
  if (dense_ == nullptr || round_to_half_) return std::nullopt;
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
  return rows_ * cols_ * 8 * (round_to_half_ ? 2 : DTypeBytes(dtype_));
}

namespace {

std::string ShapeName(const std::vector<size_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

void RequireFinite(const std::string& name, std::span<const float> values, WeightType type,
                   const std::filesystem::path& dir) {
  for (float value : values) {
    if (std::isfinite(value)) continue;
    throw Error(fmt::format("tensor {}: expected finite numbers{}, found {}", name,
                            type == WeightType::kFp16 ? " of FP16's range" : "", value),
                dir.string());
  }
}

// Takes tensors out of a checkpoint, remembering which, so that what is left over can be refused.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, WeightType type) : checkpoint_(checkpoint), type_(type) {}

  Linear TakeLinear(const std::string& name, size_t rows, size_t cols, bool bias) {
    Linear linear{name, Weight(Take(FileName(name) + ".weight", {rows, cols}), type_), {}};
    if (bias) linear.bias = TakeVector(FileName(name) + ".bias", rows);
    return linear;
  }

  std::vector<float> TakeVector(const std::string& file_name, size_t size) {
    Tensor tensor = Take(file_name, {size});
    tensor.shape = {1, size};
    std::vector<float> values(size);
    Weight(tensor, type_).DecodeRows(0, {values.data(), 1, size});
    RequireFinite(file_name, values, type_, checkpoint_.dir());
    return values;
  }

  // Rotary frequency buffers, which old exporters wrote, say nothing that config.json does not.
  void RefuseLeftOvers() const {
    for (const std::string& name : checkpoint_.names()) {
      if (taken_.contains(name) || name.ends_with(".rotary_emb.inv_freq")) continue;
      throw Error(fmt::format("tensor {} belongs to nothing that config.json describes", name),
                  checkpoint_.dir().string(),
                  "models with parts beyond the LLaMA family's (query norms, experts, adapters) "
                  "are not supported");
    }
  }

  // "embed_tokens" and "layers.*" live below "model." in the file; "lm_head" does not.
  static std::string FileName(const std::string& name) {
    return name == "lm_head" ? name : "model." + name;
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
  const Checkpoint& checkpoint_;
  WeightType type_;
  std::set<std::string> taken_;
};

BlockWeights TakeBlock(Loader& loader, const LlamaConfig& config, size_t layer) {
  const std::string prefix = fmt::format("layers.{}.", layer);
  const size_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  const bool bias = config.attention_bias;
  BlockWeights block;
  block.attention_norm =
      loader.TakeVector("model." + prefix + "input_layernorm.weight", config.hidden);
  block.mlp_norm =
      loader.TakeVector("model." + prefix + "post_attention_layernorm.weight", config.hidden);
  block.q = loader.TakeLinear(prefix + "self_attn.q_proj", q, config.hidden, bias);
  block.k = loader.TakeLinear(prefix + "self_attn.k_proj", kv, config.hidden, bias);
  block.v = loader.TakeLinear(prefix + "self_attn.v_proj", kv, config.hidden, bias);
  block.o = loader.TakeLinear(prefix + "self_attn.o_proj", config.hidden, q, bias);
  block.gate = loader.TakeLinear(prefix + "mlp.gate_proj", config.intermediate, config.hidden,
                                 config.mlp_bias);
  block.up = loader.TakeLinear(prefix + "mlp.up_proj", config.intermediate, config.hidden,
                               config.mlp_bias);
  block.down = loader.TakeLinear(prefix + "mlp.down_proj", config.hidden, config.intermediate,
                                 config.mlp_bias);
  return block;
}

// A tied model's file may hold the head once more; then it must be the embedding.
void CheckTiedHead(Loader& loader, const LlamaConfig& config, const Checkpoint& checkpoint) {
  if (checkpoint.Find("lm_head.weight") == nullptr) return;
  const Tensor& head = loader.Take("lm_head.weight", {config.vocab, config.hidden});
  const Tensor& embedding = checkpoint.Get("model.embed_tokens.weight");
  if (head.bytes == embedding.bytes &&
      std::equal(head.data, head.data + head.bytes, embedding.data))
    return;
  throw Error(
      "lm_head.weight differs from model.embed_tokens.weight although tie_word_embeddings is true",
      checkpoint.dir().string(), "set tie_word_embeddings to what the model was trained with");
}

}  // namespace

void CheckFinite(const ModelWeights& weights, WeightType type, size_t threads) {
  std::vector<const Linear*> all = {&weights.embedding, &weights.head};
  for (const BlockWeights& block : weights.blocks) {
    for (const Linear* linear : block.linears()) all.push_back(linear);
  }
  constexpr size_t kPanel = 64;
  ParallelFor(all.size(), threads, [&](size_t i, size_t) {
    const Weight& weight = all[i]->weight;
    Matrix<float> panel(kPanel, weight.cols());
    for (size_t first = 0; first < weight.rows(); first += kPanel) {
      ThrowIfCancelled();
      const MatrixView<float> rows = panel.view().Rows(0, std::min(kPanel, weight.rows() - first));
      weight.DecodeRows(first, rows);
      RequireFinite(all[i]->name, {rows.data(), rows.rows() * rows.cols()}, type,
                    weights.checkpoint->dir());
    }
  });
}

ModelWeights MapWeights(const LlamaConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                        WeightType type) {
  Loader loader(*checkpoint, type);
  ModelWeights weights;
  weights.embedding = loader.TakeLinear("embed_tokens", config.vocab, config.hidden, false);
  for (size_t layer = 0; layer < config.layers; ++layer)
    weights.blocks.push_back(TakeBlock(loader, config, layer));
  weights.final_norm = loader.TakeVector("model.norm.weight", config.hidden);
  if (config.tied_head) {
    CheckTiedHead(loader, config, *checkpoint);
    weights.head = {"lm_head", weights.embedding.weight, {}};
  } else {
    weights.head = loader.TakeLinear("lm_head", config.vocab, config.hidden, false);
  }
  loader.RefuseLeftOvers();
  weights.checkpoint = std::move(checkpoint);
  return weights;
}

ModelWeights LoadWeights(const LlamaConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                         WeightType type, size_t threads) {
  ModelWeights weights = MapWeights(config, std::move(checkpoint), type);
  CheckFinite(weights, type, threads);
  return weights;
}

}  // namespace quantref
