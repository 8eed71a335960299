#include <catch2/catch.hpp>
#include <span>
#include <string>

#include "harness/io/checkpoint.h"
#include "harness/model/weights.h"
#include "harness/quant/ggml_blocks_testing.h"
#include "harness/testing/gguf_builder.h"

namespace quantref {
namespace {

TEST_CASE("gguf: a matrix of every type comes out of a file as its blocks are decoded", "[gguf]") {
  constexpr size_t kRows = 2;
  for (const testing::BlocksGolden& golden : testing::BlocksGoldens()) {
    INFO(golden.type->name);
    const testing::TempDir dir;
    testing::GgufBuilder()
        .Text("general.architecture", "qwen2")
        .AddFloats("blk.0.ffn_norm.weight", {1}, std::vector<float>{1})
        .Add("blk.0.ffn_down.weight", static_cast<uint32_t>(golden.type->type),
             {golden.Values() / kRows, kRows}, golden.blocks)
        .Write(dir / "model.gguf");
    const auto checkpoint = Checkpoint::Open(dir / "model.gguf");
    const Tensor& tensor = checkpoint->Get("model.layers.0.mlp.down_proj.weight");
    CHECK(tensor.type_name() == golden.type->name);
    const Weight stored(tensor);
    REQUIRE(stored.rows() == kRows);
    CHECK(stored.in_blocks() == (golden.type->elements > 1));
    CHECK(stored.StorageBits() == 8 * golden.blocks.size());
    for (const Weight& weight : {stored, stored.Decoded()}) {
      const Matrix<float> values = weight.Decode();
      golden.Check({values.data(), golden.Values()});
    }
  }
}

}  // namespace
}  // namespace quantref
