#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/io/checkpoint.h"
#include "harness/kernels/thin_gemm.h"
#include "harness/kernels/tiled_matrix.h"
#include "harness/model/config.h"
#include "harness/quant/activation.h"
#include "harness/quant/encoded_matrix.h"
#include "harness/quant/kv_scheme.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {

struct CountedNote;    // foreign_checkpoint.h
struct MatrixSources;  // likewise

// Whether weights are used as the checkpoint has them, or rounded to FP16 first (F32 and BF16
// checkpoints).
enum class WeightType { kNative, kFp16 };

// What products with quantized weights go through: the integer kernels, as far as these take the
// weights, or decoded weights in FP32 products, which say what should come out.
enum class Products { kKernel, kSimulated };

// A (out, in) weight matrix in its stored form, of which it has one: the checkpoint's mapped
// F32/F16/BF16 numbers or blocks, its own F32 or F16 numbers, packed codes in the reference layout
// or in the kernels', or what can only be decoded. Blocks may have their numbers beside them. Cheap
// to copy: copies share the storage. FP32 values of what is stored otherwise exist only panel by
// panel, in the caller's buffer. Dense numbers are in the type that products read them in: rounding
// to FP16 is done once.
class Weight {
 public:
  Weight() = default;
  // 2-D; F32, F16, BF16, or blocks that DecodesGgml; the checkpoint must outlive it. Plain numbers
  // whose rows stand in another order (Tensor::head_rows) are copied.
  explicit Weight(const Tensor& tensor);
  explicit Weight(std::shared_ptr<const PackedMatrix> packed);
  explicit Weight(std::shared_ptr<const TiledMatrix> tiled);
  explicit Weight(std::shared_ptr<const EncodedMatrix> encoded);
  explicit Weight(Matrix<float> values);  // kept in FP32

  // The values rounded to FP16. Throws Error, naming the matrix, where one is beyond its range, or
  // where so many are too small for it that more is lost than rounding of normal numbers can lose
  // (CheckHalfLoss).
  static Weight RoundedToHalf(MatrixView<const float> values, const std::string& name);

  // This weight's numbers in FP16 where they are the checkpoint's F32 or BF16 ones: still the
  // checkpoint's, as owned() tells. Throws Error as RoundedToHalf.
  Weight InHalf(const std::string& name) const;

  // Another tool's codes as the checkpoint's own blocks: what is kept of them are the numbers that
  // they stand for. Any other weight as it is.
  Weight AsBlocks() const;
  // A checkpoint's blocks, decoded: in FP16 where that holds every number, else in FP32; still the
  // checkpoint's. Any other weight as it is.
  Weight Decoded() const;
  // A checkpoint's blocks, whose numbers are rounded to FP16 each time they are read. Throws Error
  // as RoundedToHalf.
  Weight RoundedRows(const std::string& name) const;
  // A checkpoint's blocks, which stay what is stored and shared, with dense numbers beside them
  // that are read in their place.
  Weight ReadAs(const Weight& dense) const;
  bool in_blocks() const { return encoded_ != nullptr && of_checkpoint_; }

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  // Made of codes that are not the checkpoint's own blocks.
  bool quantized() const {
    return packed_ != nullptr || tiled_ != nullptr || (encoded_ != nullptr && !of_checkpoint_);
  }
  const PackedMatrix* packed() const { return packed_.get(); }     // nullptr: in another form
  const EncodedMatrix* encoded() const { return encoded_.get(); }  // likewise

  // The same codes in the integer kernels' layout, so that products go through these; the weight
  // itself where it is not packed, or not so that the kernels can take it.
  Weight WithKernels() const;
  // The same storage, multiplied as asked.
  Weight With(Products products) const;
  // What products go through; nullptr: through decoded numbers.
  const TiledMatrix* tiled() const {
    return products_ == Products::kKernel ? tiled_.get() : nullptr;
  }

  // Of a quantized weight: PackedMatrix's hash in whichever layout, or EncodedMatrix's.
  std::string CodesSha256() const;

  // values = rows [first, first + values.rows()) in FP32, exactly.
  void DecodeRows(size_t first, MatrixView<float> values) const;
  Matrix<float> Decode() const;

  // The numbers themselves; none where there are only codes or blocks.
  std::optional<DenseRows> dense() const;

  size_t StorageBits() const;
  // Neither packed nor the checkpoint's numbers, these rounded or not.
  bool owned() const { return owner_ != nullptr && !of_checkpoint_; }
  size_t OwnBytes() const { return owner_ != nullptr ? DenseBytes() : 0; }
  bool stored_in_16_bits() const {
    return encoded_ == nullptr && !quantized() && dtype_ != DType::kF32;
  }
  bool SharesStorage(const Weight& other) const {
    return dense_ == other.dense_ && packed_ == other.packed_ && tiled_ == other.tiled_ &&
           encoded_ == other.encoded_;
  }

 private:
  Weight(std::shared_ptr<const Matrix<uint16_t>> halves, bool of_checkpoint);
  void CopyRows(const Tensor& tensor);
  size_t DenseBytes() const { return rows_ * cols_ * DTypeBytes(dtype_); }

  std::shared_ptr<const PackedMatrix> packed_;
  std::shared_ptr<const TiledMatrix> tiled_;
  std::shared_ptr<const EncodedMatrix> encoded_;
  Products products_ = Products::kKernel;
  std::shared_ptr<const void> owner_;  // of dense_, where it is not the checkpoint
  const std::byte* dense_ = nullptr;
  DType dtype_ = DType::kF32;
  bool of_checkpoint_ = true;
  size_t rows_ = 0, cols_ = 0;
};

// What rounding numbers to FP16 does to them, added up.
struct HalfLoss {
  size_t vanished = 0;            // numbers that became 0
  double error = 0, squares = 0;  // sums of squares, of the differences and of the numbers

  void Add(float value, float rounded);
};

// Throws Error, naming the tensor, where the error is larger, relative to the numbers, than 2^-11:
// no rounding of FP16's normal numbers goes beyond it, so that this much is lost to underflow.
void CheckHalfLoss(const HalfLoss& loss, const std::string& name, const std::string& hint = "");

struct Adapter;  // adapter.h

// y = Q(x) W^T + b, where Q rounds the activations or leaves them alone.
struct Linear {
  std::string name;  // as overrides match it: "layers.3.mlp.down_proj", "lm_head"
  Weight weight;
  std::vector<float> bias;  // empty, or out values
  std::optional<ActivationFormat> activations{};
  // What outlier channels of the activations are multiplied with where the codes' values are not
  // (ActivationFormat::KeepsWeights): FP16 numbers, a row an input, (in, out); else empty.
  Weight outlier_weights{};
  std::shared_ptr<const Adapter> adapter{};  // what it adds to y; nullptr: nothing
};

// Those of a linear with these weights. Throws Error, naming the matrix, as Weight::RoundedToHalf.
Weight OutlierWeights(const Weight& weight, const std::string& name);

// By the indices of config.h; empty where the block's layout has no such part.
struct BlockWeights {
  std::array<std::vector<float>, kNorms> norms;  // gains, as they are multiplied: 1 + w of some
  std::array<std::vector<float>, kNorms> norm_biases;
  std::array<Linear, kLinears> linears;
};

// The block with Weight::WithKernels for every linear.
BlockWeights WithKernels(BlockWeights block);

// All weights of a model; a value, cheap to copy. A quantized model is a copy with some weights
// replaced.
struct ModelWeights {
  std::shared_ptr<const Checkpoint> checkpoint;  // keeps the mapped memory
  Linear embedding;  // (vocab, hidden), named "embed_tokens"; has no bias
  std::vector<BlockWeights> blocks;
  std::vector<float> final_norm, final_norm_bias;  // as those of blocks
  // Learned ones: (context + kPositionOffset, hidden), rounded as vectors are; else nullptr.
  std::shared_ptr<const Matrix<float>> positions{};
  Linear head;  // (vocab, hidden); the embedding's weight where the head is tied
  // How keys and values are rounded on their way into the cache, a window's too; none: not.
  std::optional<KvScheme> kv_cache{};
};

// Whether the head multiplies by the very matrix that the embedding looks up.
inline bool HeadIsTied(const ModelWeights& weights) {
  return weights.head.weight.SharesStorage(weights.embedding.weight);
}

// The model's matrices, each once: the embedding, those of the blocks, and lm_head unless it is
// tied to the embedding.
std::vector<Linear*> AllLinears(ModelWeights& weights);
std::vector<const Linear*> AllLinears(const ModelWeights& weights);

// Stored bits of what stands beside its matrix.
size_t AdapterBits(const Linear& linear);

// Bytes of dense matrices that are not the mapped checkpoint's.
size_t OwnBytes(const ModelWeights& weights);

// The weights with all of their products going the same way.
ModelWeights With(ModelWeights weights, Products products);

// Matrices that are decoded to FP32 for every product, because they are neither numbers nor codes
// that a kernel multiplies (HasKernel); the embedding apart, which is looked up.
std::vector<std::string> DecodedEachCall(const ModelWeights& weights);

// Finds and maps every weight that the config asks for. Throws Error for a tensor that is missing,
// misshapen, of an unsupported type, or that no part of the model would use; vectors are ready, as
// ReadWeights leaves matrices. `sources`: matrices of another tool's checkpoint are found there,
// and what was found of every matrix is added to it; their weights are there once they are read.
ModelWeights MapWeights(const ModelConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                        WeightType type, MatrixSources* sources = nullptr);

// Looks at every matrix that was mapped, and with kFp16 rounds those that are not FP16, once, into
// memory of their own. A checkpoint's blocks are decoded into memory, too, the head's (which may be
// the embedding's) beside the blocks; but not those of an embedding that is only looked up, whose
// rows are decoded (and rounded) each time that they are read. Throws Error for a weight that is
// not finite, beyond FP16 or too small for it where it is to be rounded to it. Matrices of other
// tools' checkpoints become what their readers make of them, packed or encoded, whatever the type,
// or are treated as blocks are where MatrixSources::decode asked for that; `notes` gets what the
// readers noticed.
void ReadWeights(ModelWeights& weights, WeightType type, size_t threads,
                 std::vector<CountedNote>* notes = nullptr);

// Both.
ModelWeights LoadWeights(const ModelConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                         WeightType type, size_t threads);

}  // namespace quantref
