#include <catch2/catch.hpp>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/kernels/thin_gemm.h"
#include "harness/model/load_model.h"
#include "harness/model/model_testing.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_gguf.h"
#include "harness/testing/tiny_model.h"

// Weights in a GGUF file's blocks: what of them is decoded when, and what that takes.

namespace quantref {
namespace {

using testing::GgufBuilder;
using testing::LoadGguf;
using testing::LogitsOf;
using testing::SameNumbers;
using testing::TempDir;
using testing::TinyModel;

constexpr uint32_t kQ4_1 = 3, kQ8_0 = 8;

const TinyModel kOfBlocks{.hidden = 64, .intermediate = 96, .tied = true};

// Weights of the blocks' matrices, which are dense.
size_t CheckDenseBlocks(const ModelWeights& weights) {
  size_t count = 0;
  for (const BlockWeights& block : weights.blocks) {
    for (const Linear& linear : block.linears) {
      if (linear.name.empty()) continue;
      CHECK(linear.weight.dense().has_value());
      CHECK_FALSE(linear.weight.quantized());
      CHECK_FALSE(linear.weight.owned());
      CHECK_FALSE(linear.weight.stored_in_16_bits());
      count += linear.weight.rows() * linear.weight.cols();
    }
  }
  return count;
}

// As the file has it, decoded for products or not.
void CheckInFileBlocks(const Weight& weight, uint32_t type, bool decoded) {
  CHECK(weight.in_blocks());
  CHECK_FALSE(weight.quantized());
  CHECK_FALSE(weight.owned());
  CHECK(weight.dense().has_value() == decoded);
  CHECK((weight.OwnBytes() > 0) == decoded);
  CHECK(weight.StorageBits() == 64 * 64 / 32 * (type == kQ8_0 ? 34 : 20) * 8);
}

TEST_CASE("gguf_blocks: blocks are decoded once, the head's too, but no embedding that is none",
          "[gguf_blocks]") {
  for (const uint32_t type : {kQ4_1, kQ8_0}) {
    for (const bool tied : {true, false}) {
      INFO(type << " " << tied);
      TinyModel model = kOfBlocks;
      model.tied = tied;
      const GgufBuilder file = testing::TinyGgufOfBlocks(model, type, 1);
      const testing::LoadedModel native = LoadGguf(file),
                                 halves = LoadGguf(file, WeightType::kFp16);
      const size_t multiplied = CheckDenseBlocks(native.weights) + 64 * 64;
      CHECK(OwnBytes(native.weights) == 4 * multiplied);
      CHECK(OwnBytes(halves.weights) == 2 * multiplied);
      for (const ModelWeights* weights : {&native.weights, &halves.weights}) {
        CheckInFileBlocks(weights->embedding.weight, type, tied);
        CheckInFileBlocks(weights->head.weight, type, true);
        CHECK(HeadIsTied(*weights) == tied);
        CHECK(DecodedEachCall(*weights).empty());
      }
      for (const auto part : {&ModelWeights::embedding, &ModelWeights::head}) {
        const Matrix<float> exact = (native.weights.*part).weight.Decode(),
                            rounded = (halves.weights.*part).weight.Decode();
        for (size_t i = 0; i < 64 * 64; ++i)
          CHECK(rounded.data()[i] == RoundToHalf(exact.data()[i]));
      }
      for (size_t i = 0; i < native.weights.blocks.size(); ++i) {
        const Linear& wide = native.weights.blocks[i].linears[kQ];
        CHECK(SameNumbers(wide.weight.InHalf("q"), halves.weights.blocks[i].linears[kQ].weight));
      }
    }
  }
}

TEST_CASE("gguf_blocks: a head that is left in blocks is told of", "[gguf_blocks]") {
  testing::LoadedModel gguf = LoadGguf(testing::TinyGgufOfBlocks(kOfBlocks, kQ8_0, 1));
  gguf.weights.head.weight = Weight(gguf.weights.checkpoint->Get("model.embed_tokens.weight"));
  CHECK(DecodedEachCall(gguf.weights) == std::vector<std::string>{kHeadName});
}

TEST_CASE("gguf_blocks: numbers that FP16 holds are kept in it", "[gguf_blocks]") {
  const TempDir dir;
  std::vector<std::byte> blocks(34, std::byte{3});
  blocks[0] = std::byte{0}, blocks[1] = std::byte{0x3c};  // 1 times 3
  Tensor tensor{"w", DType::kBlocks, {1, 32}, blocks.data(), blocks.size()};
  tensor.blocks = GgmlType::kQ8_0;
  const Weight decoded = Weight(tensor).Decoded();
  CHECK(decoded.stored_in_16_bits());
  CHECK(decoded.Decode()(0, 31) == 3);
  blocks[0] = std::byte{1};  // 11 bits times 7 bits
  blocks[2] = std::byte{127};
  CHECK_FALSE(Weight(tensor).Decoded().stored_in_16_bits());
}

TEST_CASE("gguf_blocks: a forward pass is that of the decoded numbers", "[gguf_blocks]") {
  for (const WeightType type : {WeightType::kNative, WeightType::kFp16}) {
    const testing::LoadedModel gguf =
        LoadGguf(testing::TinyGgufOfBlocks(kOfBlocks, kQ8_0, 5), type);
    ModelWeights dense = gguf.weights, blocks = gguf.weights;
    dense.embedding.weight = dense.head.weight = Weight(dense.embedding.weight.Decode());
    const Weight stored(gguf.weights.checkpoint->Get("model.embed_tokens.weight"));
    blocks.head.weight = type == WeightType::kFp16 ? stored.RoundedRows("w") : stored;
    // The thin kernel's products of numbers; of blocks it has none.
    for (const size_t tokens : {size_t{7}, ThinTokens() + 5}) {
      std::vector<uint32_t> ids(tokens);
      for (size_t i = 0; i < tokens; ++i) ids[i] = static_cast<uint32_t>((7 * i + 1) % 64);
      const Matrix<float> own = LogitsOf(gguf.config, gguf.weights, ids),
                          of_dense = LogitsOf(gguf.config, dense, ids),
                          of_blocks = LogitsOf(gguf.config, blocks, ids);
      const double margin = tokens > ThinTokens() ? 0 : 1e-5;
      for (size_t i = 0; i < tokens * gguf.config.vocab; ++i) {
        CHECK(own.data()[i] == of_dense.data()[i]);
        CHECK(std::fabs(own.data()[i] - of_blocks.data()[i]) <= margin);
      }
    }
  }
}

TEST_CASE("gguf_blocks: what loading takes is known before", "[gguf_blocks]") {
  const TempDir dir;
  const GgufBuilder file = testing::TinyGgufOfBlocks(kOfBlocks, kQ8_0, 1);
  file.Write(dir / "model.gguf");
  const testing::LoadedModel native = LoadGguf(file);
  const ModelBytes bytes = BytesToLoad(dir / "model.gguf", WeightType::kNative);
  CHECK(bytes.files == file.Bytes().size());
  CHECK(bytes.decoded == OwnBytes(native.weights));
  CHECK(BytesToLoad(dir.path(), WeightType::kFp16).decoded == bytes.decoded / 2);
  const TempDir folder;
  testing::WriteTinyModel(folder.path(), {});
  CHECK(BytesToLoad(folder.path(), WeightType::kNative).decoded == 0);
  CHECK(ReadModelConfig(folder.path()).hidden == 32);
  CHECK(ReadModelConfig(dir.path()).hidden == 64);
}

TEST_CASE("gguf_blocks: blocks of other types and shapes are refused by name", "[gguf_blocks]") {
  const TinyModel model{.hidden = 256, .intermediate = 256, .tied = true};
  testing::FileTensors tensors = testing::TinyTensors(model);
  tensors.erase("model.layers.0.mlp.up_proj.weight");
  GgufBuilder file = testing::TinyGguf(model, tensors);
  CHECK_ERROR(LoadGguf(file), "model.layers.0.mlp.up_proj.weight");
  GgufBuilder grids = file;
  grids.Add("blk.0.ffn_up.weight", 16, {256, 256}, std::string(256 * 66, '\0'));
  CHECK_ERROR(LoadGguf(grids), "IQ2_XXS", "Q6_K", "convert the model");
  GgufBuilder integers = file;
  integers.Add("blk.0.ffn_up.weight", 24, {256, 256}, std::string(256 * 256, '\0'));
  CHECK_ERROR(LoadGguf(integers), "expected F32, F16 or BF16, found I8");
  file.Add("blk.0.ffn_up.weight", 8, {64, 256}, std::string(256 * 68, '\0'));
  CHECK_ERROR(LoadGguf(file), "shape (256, 256), found (256, 64)");
}

}  // namespace
}  // namespace quantref
