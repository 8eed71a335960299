#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <string>

#include "harness/formats/formats_testing.h"

namespace quantref {
namespace {

using testing::ForeignGolden;
using testing::ReadForeign;
using testing::Refusal;

constexpr char kNf4State[] = "weight.quant_state.bitsandbytes__nf4";

// The golden whose quant_state is changed.
template <typename Change>
ForeignGolden WithState(const std::string& kind, const Change& change) {
  ForeignGolden golden(kind);
  testing::FileTensor& tensor = golden.at(kNf4State);
  nlohmann::json state = nlohmann::json::parse(tensor.bytes);
  change(state);
  tensor.bytes = state.dump();
  tensor.shape = {tensor.bytes.size()};
  return golden;
}

TEST_CASE("bitsandbytes: the state of 4 bits must be of this matrix") {
  const auto refusal = [](const char* kind, const char* key, const nlohmann::json& value) {
    const ForeignGolden golden = WithState(kind, [&](auto& state) { state[key] = value; });
    return testing::ErrorMessage([&] { ReadForeign read(golden); });
  };
  CHECK(testing::Contains(refusal("bnb_nf4", "quant_type", "fp4"), "\"nf4\""));
  CHECK(testing::Contains(refusal("bnb_nf4", "blocksize", 0), "blocksize"));
  CHECK(testing::Contains(refusal("bnb_nf4", "blocksize", 128), "weight.absmax"));
  CHECK(testing::Contains(refusal("bnb_nf4", "shape", {128, 16}), "the shape (16, 128)"));
  CHECK(testing::Contains(refusal("bnb_nf4", "shape", "16"), "shape"));
  CHECK(testing::Contains(refusal("bnb_nf4_nested", "nested_offset", "much"), "nested_offset"));
  CHECK(testing::Contains(refusal("bnb_nf4_nested", "nested_offset", 1e300), "nested_offset"));
  CHECK(testing::Contains(refusal("bnb_nf4_nested", "nested_blocksize", 64), "nested_absmax"));
  ForeignGolden golden("bnb_nf4");
  golden.at(kNf4State).bytes[0] = '[';
  CHECK_ERROR(ReadForeign(golden), kNf4State);
}

TEST_CASE("bitsandbytes: levels that are stored must be the type's") {
  ForeignGolden golden("bnb_nf4");
  golden.numbers<float>("weight.quant_map")[3] += 1e-6f;
  CHECK_ERROR(ReadForeign(golden), "weight.quant_map", "for code 3");
  ForeignGolden nested("bnb_nf4_nested");
  nested.numbers<float>("weight.nested_quant_map")[200] = testing::kNan;
  CHECK_ERROR(ReadForeign(nested), "weight.nested_quant_map", "for code 200", "found nan");
}

TEST_CASE("bitsandbytes: settings that are not understood are refused by name") {
  CHECK(testing::Contains(Refusal("bnb_nf4", "load_in_8bit", true), "load_in_4bit"));
  CHECK(testing::Contains(Refusal("bnb_nf4", "bnb_4bit_quant_storage", "bfloat16"), "bfloat16"));
  CHECK(testing::Contains(Refusal("bnb_int8", "llm_int8_has_fp16_weight", true), "fp16_weight"));
  CHECK(testing::Contains(Refusal("bnb_int8", "llm_int8_threshold", -1), "llm_int8_threshold"));
  CHECK(testing::Contains(Refusal("bnb_nf4", "bnb_4bit_grid", "other"), "\"bnb_4bit_grid\""));
  ForeignGolden tiled("bnb_int8");
  tiled.at("weight_format").bytes[0] = 2;
  CHECK_ERROR(ReadForeign(tiled), "weight_format", "found 2");
}

TEST_CASE("fp8: settings that are not understood are refused by name") {
  CHECK(testing::Contains(Refusal("fp8_tensor", "activation_scheme", "none"), "dynamic or static"));
  CHECK(
      testing::Contains(Refusal("fp8_tensor", "activation_scheme", "static"), "activation_scale"));
  CHECK(testing::Contains(Refusal("fp8_block", "activation_scheme", "static"), "static"));
  CHECK(testing::Contains(Refusal("fp8_block", "scale_fmt", "ue8m0"), "\"ue8m0\""));
  CHECK(testing::Contains(Refusal("fp8_block", "weight_block_size", {16}), "weight_block_size"));
  CHECK(testing::Contains(Refusal("fp8_block", "weight_block_size", {16, 16}), "weight_scale_inv"));
  CHECK(
      testing::Contains(Refusal("fp8_block", "kv_cache_scheme", "static"),
                        "a cache of keys and values that is rounded (kv_cache_scheme \"static\")"));
  CHECK(testing::Contains(Refusal("fp8_block", "dequantize", true), "dequantize"));
}

TEST_CASE("fp8: what is told of rounded inputs") {
  CHECK(ReadForeign(ForeignGolden("fp8_tensor")).NoteCount("token by token") == 1);
  CHECK(ReadForeign(ForeignGolden("fp8_block")).notes.empty());
}

TEST_CASE("fp8: AutoFP8's names, and its static scales of inputs") {
  ForeignGolden golden("fp8_tensor");
  const std::string name(testing::kMatrix);
  golden.tensors[name + ".weight_scale"] = golden.at("weight_scale_inv");
  golden.Remove("weight_scale_inv");
  const float scale = 0.25f;
  std::string bytes(sizeof(scale), '\0');
  std::memcpy(bytes.data(), &scale, sizeof(scale));
  golden.tensors[name + ".input_scale"] = {"F32", {}, bytes};
  golden.settings()["activation_scheme"] = "static";
  const ReadForeign read(golden);
  CHECK(read.found->tensors.size() == 3);
  REQUIRE(read.found->activations);
  CHECK(read.found->activations->static_scale == 0.25f);
  CHECK(testing::ValuesOf(read.weight) ==
        testing::ValuesOf(ReadForeign(ForeignGolden("fp8_tensor")).weight));
}

}  // namespace
}  // namespace quantref
