#include "eval/accuracy/reference_name.h"

#include <catch2/catch.hpp>
#include <memory>

#include "harness/quant/affine.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_gguf.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

ModelWeights Load(const std::string& dtype, WeightType type) {
  const testing::TempDir dir;
  testing::WriteTinyModel(dir.path(), {.dtype = dtype});
  return LoadWeights(ReadConfig(dir / "config.json"), Checkpoint::Open(dir.path()), type, 1);
}

TEST_CASE("reference_name: it is called by what its weights are") {
  for (const auto& [dtype, name] : {std::pair("F16", "fp16"), {"BF16", "bf16"}, {"F32", "fp32"}}) {
    const ModelWeights native = Load(dtype, WeightType::kNative);
    CHECK(ReferenceName(native) == name);
    CHECK(IsReferenceName(name));
    CHECK(IsFp16(native) == (name == std::string("fp16")));
    CHECK(ReferenceName(Load(dtype, WeightType::kFp16)) == "fp16");
  }
  ModelWeights mixed = Load("BF16", WeightType::kNative);
  mixed.blocks[0].linears[kQ].weight = Weight(mixed.blocks[0].linears[kQ].weight.Decode());
  CHECK(ReferenceName(mixed) == "bf16+fp32");
}

TEST_CASE("reference_name: what decodes a matrix at every product is no FP16 to compare with") {
  constexpr uint32_t kQ8_0 = 8;
  ModelWeights halves =
      testing::LoadGguf(
          testing::TinyGgufOfBlocks({.hidden = 64, .intermediate = 96, .tied = true}, kQ8_0, 1),
          WeightType::kFp16)
          .weights;
  CHECK(IsFp16(halves));
  halves.head.weight =
      Weight(halves.checkpoint->Get("model.embed_tokens.weight")).RoundedRows("lm_head");
  CHECK_FALSE(IsFp16(halves));
}

}  // namespace
}  // namespace quantref
