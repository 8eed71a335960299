#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/io/checkpoint.h"
#include "harness/kernels/thin_gemm.h"
#include "harness/kernels/tiled_matrix.h"
#include "harness/model/config.h"
#include "harness/quant/activation.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {

// Whether weights are used as the checkpoint has them, or rounded to FP16 first (F32 and BF16
// checkpoints).
enum class WeightType { kNative, kFp16 };

// A (out, in) weight matrix in its stored form: the checkpoint's mapped F32/F16/BF16 numbers, its
// own F32 or F16 numbers, or packed codes, in the reference layout, the kernels', or both. Cheap to
// copy: copies share the storage. FP32 values of what is stored otherwise exist only panel by
// panel, in the caller's buffer.
class Weight {
 public:
  Weight() = default;
  Weight(const Tensor& tensor,
         WeightType type);  // 2-D F32/F16/BF16; the checkpoint must outlive it
  explicit Weight(std::shared_ptr<const PackedMatrix> packed);
  explicit Weight(std::shared_ptr<const TiledMatrix> tiled);  // for the integer kernels alone
  explicit Weight(Matrix<float> values);                      // kept in FP32

  // The values rounded to FP16. Throws Error, naming the matrix, where one is beyond its range.
  static Weight RoundedToHalf(MatrixView<const float> values, const std::string& name);

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  bool quantized() const { return packed_ != nullptr || tiled_ != nullptr; }
  const PackedMatrix* packed() const { return packed_.get(); }

  // Packed codes with the integer kernels' layout beside them, so that products go through these;
  // the weight itself where it has no codes, or none that the kernels can take.
  Weight WithKernels() const;
  const TiledMatrix* tiled() const { return tiled_.get(); }

  // values = rows [first, first + values.rows()) in FP32, exactly.
  void DecodeRows(size_t first, MatrixView<float> values) const;
  Matrix<float> Decode() const;

  // The stored numbers themselves; none where they are codes, or still to be rounded to FP16.
  std::optional<DenseRows> dense() const;

  size_t StorageBits() const;
  bool owned() const { return owner_ != nullptr; }  // not the checkpoint's numbers, nor packed
  bool stored_in_16_bits() const {
    return !quantized() && (round_to_half_ || dtype_ != DType::kF32);
  }
  bool SharesStorage(const Weight& other) const {
    if (packed_ != nullptr) return packed_ == other.packed_;  // kernels' copies or not
    return dense_ == other.dense_ && tiled_ == other.tiled_;
  }

 private:
  std::shared_ptr<const PackedMatrix> packed_;
  std::shared_ptr<const TiledMatrix> tiled_;
  std::shared_ptr<const void> owner_;  // of dense_, where it is not the checkpoint
  const std::byte* dense_ = nullptr;
  DType dtype_ = DType::kF32;
  bool round_to_half_ = false;
  size_t rows_ = 0, cols_ = 0;
};

// y = Q(x) W^T + b, where Q rounds the activations or leaves them alone.
struct Linear {
  std::string name;  // as overrides match it: "layers.3.mlp.down_proj", "lm_head"
  Weight weight;
  std::vector<float> bias;  // empty, or out values
  std::optional<ActivationFormat> activations{};
};

struct BlockWeights {
  std::vector<float> attention_norm, mlp_norm;
  Linear q, k, v, o, gate, up, down;

  // The seven linears in the order of the data's way.
  std::vector<Linear*> linears() { return {&q, &k, &v, &o, &gate, &up, &down}; }
  std::vector<const Linear*> linears() const { return {&q, &k, &v, &o, &gate, &up, &down}; }
};

// The block with Weight::WithKernels for every linear.
BlockWeights WithKernels(BlockWeights block);

// All weights of a model; a value, cheap to copy. A quantized model is a copy with some weights
// replaced.
struct ModelWeights {
  std::shared_ptr<const Checkpoint> checkpoint;  // keeps the mapped memory
  Linear embedding;  // (vocab, hidden), named "embed_tokens"; has no bias
  std::vector<BlockWeights> blocks;
  std::vector<float> final_norm;
  Linear head;  // (vocab, hidden); the embedding's weight where the head is tied
};

// Finds and maps every weight that the config asks for. Throws Error for a tensor that is missing,
// misshapen, of an unsupported type, or that no part of the model would use.
ModelWeights MapWeights(const LlamaConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                        WeightType type);

// Throws Error for a weight that is not finite, or beyond FP16 where it is to be rounded to it.
void CheckFinite(const ModelWeights& weights, WeightType type, size_t threads);

// Both.
ModelWeights LoadWeights(const LlamaConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                         WeightType type, size_t threads);

}  // namespace quantref
