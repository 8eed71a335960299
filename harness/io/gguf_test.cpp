#include "harness/io/gguf.h"

#include <catch2/catch.hpp>
#include <limits>
#include <string>
#include <vector>

#include "harness/io/gguf_names.h"
#include "harness/testing/fuzz.h"
#include "harness/testing/gguf_builder.h"
#include "harness/testing/safetensors_builder.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::GgufBuilder;
using testing::TempDir;

constexpr uint32_t kU8 = 0, kI8 = 1, kU16 = 2, kI16 = 3, kF32 = 6, kBool = 7, kString = 8,
                   kArray = 9, kU64 = 10, kI64 = 11, kF64 = 12;

GgufFile OpenGguf(const std::string& bytes) {
  const testing::InputFile file(bytes);
  return GgufFile::Open(file.path());
}
GgufFile OpenGguf(const GgufBuilder& builder) { return OpenGguf(builder.Bytes()); }

GgufBuilder TwoTensors() {
  const std::vector<float> floats = {1, 2, 3, 4, 5, 6};
  return GgufBuilder()
      .Text("general.architecture", "llama")
      .AddFloats("b", {3, 2}, floats)
      .Add("a", 8, {32, 2}, std::string(68, 'x'));
}

TEST_CASE("gguf: tensors have their shapes turned round", "[gguf]") {
  const GgufFile file = OpenGguf(TwoTensors());
  REQUIRE(file.tensors().size() == 2);
  const Tensor& a = file.tensors()[0];
  CHECK(a.name == "a");
  CHECK(a.dtype == DType::kBlocks);
  CHECK(a.blocks == GgmlType::kQ8_0);
  CHECK(a.type_name() == "Q8_0");
  CHECK(a.shape == std::vector<size_t>{2, 32});
  CHECK(a.bytes == 68);
  CHECK(a.data[67] == std::byte{'x'});
  const Tensor* const b = file.Find("b");
  REQUIRE(b != nullptr);
  CHECK(b->dtype == DType::kF32);
  CHECK(b->type_name() == "F32");
  CHECK(b->shape == std::vector<size_t>{2, 3});
  CHECK(reinterpret_cast<const float*>(b->data)[5] == 6);
  CHECK(file.Find("c") == nullptr);
  CHECK(file.header().size() < file.file().bytes().size());
}

TEST_CASE("gguf: keys of every type", "[gguf]") {
  const auto number = [](uint64_t value, size_t bytes) {
    return GgufBuilder::Number(value, bytes);
  };
  const std::vector<std::string> texts = {"x", "", "yz"};
  const std::vector<float> floats = {0.5f, -2};
  const std::vector<int32_t> integers = {7, -1};
  const GgufFile file = OpenGguf(GgufBuilder()
                                     .Raw("u8", kU8, number(200, 1))
                                     .Raw("i8", kI8, number(0xff, 1))
                                     .Raw("u16", kU16, number(65535, 2))
                                     .Raw("i16", kI16, number(0x8000, 2))
                                     .U32("u32", 4'000'000'000)
                                     .Raw("u64", kU64, number(~uint64_t{0}, 8))
                                     .Raw("i64", kI64, number(12, 8))
                                     .Raw("f64", kF64, number(0x3ff0000000000000, 8))
                                     .F32("f32", 1e-5f)
                                     .Bool("bool", true)
                                     .Text("text", "hello")
                                     .Texts("texts", texts)
                                     .Floats("floats", floats)
                                     .Integers("integers", integers));
  CHECK(file.Count("u8") == 200);
  CHECK(file.Number("i8") == -1);
  CHECK_ERROR(file.Count("i8"), "whole number", "\"i8\"", "found -1");
  CHECK(file.Count("u16") == 65535);
  CHECK(file.Number("i16") == -32768);
  CHECK(file.Count("u32") == 4'000'000'000);
  CHECK(file.Count("u64") == ~uint64_t{0});
  CHECK(file.Count("i64") == 12);
  CHECK(file.Number("f64") == 1);
  CHECK(file.Number("f32") == 1e-5);  // and not the double of the FP32 number
  CHECK(file.Bool("bool") == true);
  CHECK(file.Text("text") == "hello");
  CHECK(file.Texts("texts") == std::vector<std::string_view>{"x", "", "yz"});
  CHECK(file.Floats("floats") == floats);
  CHECK(file.Integers("integers") == std::vector<int64_t>{7, -1});
  CHECK(file.Integers("integers").has_value());
  CHECK_FALSE(file.Count("none"));
  CHECK_FALSE(file.Texts("none"));
  CHECK(file.Has("bool"));
  CHECK_FALSE(file.Has("none"));
  CHECK_ERROR(file.Text("u8"), "a string", "found 200");
  CHECK_ERROR(file.Bool("text"), "true or false", "found \"hello\"");
  CHECK_ERROR(file.Texts("floats"), "array of strings", "an array of 2");
  CHECK_ERROR(file.Floats("integers"), "FP32");
  CHECK_ERROR(file.Integers("texts"), "whole numbers");
  CHECK_ERROR(file.Integers("floats"), "whole numbers");
  CHECK_ERROR(file.Number("text"), "a number");
}

TEST_CASE("gguf: version 2 is read, others and other files are refused", "[gguf]") {
  CHECK(OpenGguf(TwoTensors().OverrideVersion(2)).tensors().size() == 2);
  CHECK_ERROR(OpenGguf(TwoTensors().OverrideVersion(1)), "version 2 or 3", "found 1");
  CHECK_ERROR(OpenGguf(TwoTensors().OverrideVersion(0x03000000)), "big-endian");
  CHECK_ERROR(OpenGguf(std::string("GGML....")), "expected a GGUF file", "GGML");
  CHECK_ERROR(OpenGguf(std::string("<!DOCTYPE html>")), "expected a GGUF file", "web page");
  CHECK_ERROR(OpenGguf(std::string("GG")), "expected a GGUF file");
}

TEST_CASE("gguf: a file that is cut anywhere is refused", "[gguf]") {
  const std::string bytes = TwoTensors().U32("n", 1).Bytes();
  const size_t data_end = bytes.size() - 28;  // the last tensor's padding
  for (size_t length = 1; length < data_end; ++length) {
    INFO(length);
    CHECK_THROWS_AS(OpenGguf(bytes.substr(0, length)), Error);
  }
  CHECK(OpenGguf(bytes.substr(0, data_end)).tensors().size() == 2);
}

TEST_CASE("gguf: counts that lie are refused before anything is made of them", "[gguf]") {
  const uint64_t huge = std::numeric_limits<uint64_t>::max();
  for (const uint64_t count : {huge, uint64_t{1} << 40, uint64_t{1} << 32}) {
    CHECK_ERROR(OpenGguf(TwoTensors().OverrideTensorCount(count)), "tensors", "has room",
                std::to_string(count));
    CHECK_ERROR(OpenGguf(TwoTensors().OverrideKeyCount(count)), "keys", "has room");
    const std::string array =
        GgufBuilder::Number(kString, 4) + GgufBuilder::Number(count, 8) + "abc";
    CHECK_ERROR(OpenGguf(GgufBuilder().Raw("k", kArray, array)), "elements of the key \"k\"");
    const std::string text = GgufBuilder::Number(count, 8) + "abc";
    CHECK_ERROR(OpenGguf(GgufBuilder().Raw("k", kString, text)), "the key \"k\"", "cut short");
    CHECK_ERROR(OpenGguf(GgufBuilder().Add("t", 0, {count, count}, "")), "tensor \"t\"", "shape");
    CHECK_ERROR(OpenGguf(TwoTensors().OverridePlace("b", count & ~uint64_t{31})), "tensor \"b\"",
                "cut short");
  }
}

TEST_CASE("gguf: arrays of arrays and unknown types of values are refused", "[gguf]") {
  const std::string nested = GgufBuilder::Number(kArray, 4) + GgufBuilder::Number(1, 8) +
                             GgufBuilder::Number(kU8, 4) + GgufBuilder::Number(1, 8) + "x";
  CHECK_ERROR(OpenGguf(GgufBuilder().Raw("k", kArray, nested)), "the key \"k\"", "found arrays");
  CHECK_ERROR(OpenGguf(GgufBuilder().Raw("k", 13, "xxxx")), "type from 0 to 12", "found 13");
  CHECK_ERROR(OpenGguf(GgufBuilder().Raw("k", kBool, "\2")), "0 or 1", "found 2");
  const std::string bools = GgufBuilder::Number(kBool, 4) + GgufBuilder::Number(2, 8) + "\1\3";
  CHECK_ERROR(OpenGguf(GgufBuilder().Raw("k", kArray, bools)), "0 or 1", "found 3");
}

TEST_CASE("gguf: names are there, short enough, and once", "[gguf]") {
  CHECK_ERROR(OpenGguf(GgufBuilder().U32("k", 1).U32("k", 2)), "key \"k\" once");
  CHECK_ERROR(OpenGguf(GgufBuilder().U32("", 1)), "found one of 0");
  CHECK_ERROR(OpenGguf(GgufBuilder().U32(std::string(65536, 'k'), 1)), "found one of 65536");
  CHECK_ERROR(OpenGguf(TwoTensors().Add("a", 0, {1}, "1234")), "tensor \"a\" once");
  CHECK_ERROR(OpenGguf(GgufBuilder().Add("", 0, {1}, "1234")), "1 to 64 bytes");
  CHECK_ERROR(OpenGguf(GgufBuilder().Add(std::string(65, 't'), 0, {1}, "1234")), "1 to 64 bytes");
}

TEST_CASE("gguf: tensors' types, shapes and places are checked", "[gguf]") {
  const auto one = [](uint32_t type, std::vector<uint64_t> shape) {
    return GgufBuilder().Add("t", type, std::move(shape), std::string(1024, '\0'));
  };
  CHECK_ERROR(OpenGguf(one(4, {32})), "tensor \"t\"", "Q4_2, which ggml has removed");
  CHECK_ERROR(OpenGguf(one(36, {32})), "IQ4_NL_4_4");
  CHECK_ERROR(OpenGguf(one(9, {32})), "Q8_1", "activations");
  CHECK_ERROR(OpenGguf(one(139, {32})), "139", "fork");
  CHECK_ERROR(OpenGguf(one(43, {32})), "found 43");
  CHECK_ERROR(OpenGguf(one(12, {128})), "whole blocks of Q4_K (256 elements)", "128 columns");
  CHECK_ERROR(OpenGguf(one(0, {})), "1 to 4 dimensions", "found 0");
  CHECK_ERROR(OpenGguf(one(0, {1, 1, 1, 1, 1})), "found 5");
  CHECK_ERROR(OpenGguf(one(0, {4, 0})), "at least 1");
  CHECK(OpenGguf(one(16, {256})).tensors()[0].type_name() == "IQ2_XXS");
  CHECK_ERROR(OpenGguf(TwoTensors().OverridePlace("a", 4)), "tensor \"a\"", "multiple of 32");
  CHECK_ERROR(OpenGguf(TwoTensors().OverridePlace("a", 0)), "overlap");
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 1u << 21})
    CHECK_ERROR(OpenGguf(TwoTensors().U32("general.alignment", alignment)), "power of two");
  CHECK_ERROR(OpenGguf(TwoTensors().F32("general.alignment", 32)), "another type");
  CHECK(OpenGguf(TwoTensors().U32("general.alignment", 8)).Find("b") != nullptr);
}

TEST_CASE("gguf: a file without tensors may end with its keys", "[gguf]") {
  std::string bytes = GgufBuilder().U32("k", 1).Bytes();
  bytes.resize(4 + 4 + 8 + 8 + 8 + 1 + 4 + 4);
  CHECK(OpenGguf(bytes).Count("k") == 1);
}

TEST_CASE("gguf: names are those of transformers", "[gguf]") {
  for (const auto& [architecture, name, expected] :
       {std::tuple("llama", "token_embd.weight", "model.embed_tokens.weight"),
        {"llama", "output_norm.weight", "model.norm.weight"},
        {"llama", "output.weight", "lm_head.weight"},
        {"llama", "blk.12.attn_q.weight", "model.layers.12.self_attn.q_proj.weight"},
        {"qwen2", "blk.0.attn_k.bias", "model.layers.0.self_attn.k_proj.bias"},
        {"qwen3", "blk.0.attn_q_norm.weight", "model.layers.0.self_attn.q_norm.weight"},
        {"llama", "blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight"},
        {"gemma3", "blk.0.ffn_norm.weight", "model.layers.0.pre_feedforward_layernorm.weight"},
        {"gemma2", "blk.0.post_attention_norm.weight",
         "model.layers.0.post_attention_layernorm.weight"},
        {"gemma2", "blk.0.post_ffw_norm.weight",
         "model.layers.0.post_feedforward_layernorm.weight"},
        {"phi3", "blk.0.ffn_up.weight", "model.layers.0.mlp.gate_up_proj.weight"},
        {"phi3", "blk.0.attn_qkv.weight", "model.layers.0.self_attn.qkv_proj.weight"},
        {"llama", "blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight"},
        {"llama", "blk.0.ffn_gate_exps.weight", "blk.0.ffn_gate_exps.weight"},
        {"llama", "blk.0", "blk.0"},
        {"llama", "blk", "blk"},
        {"llama", "blk.weight", "blk.weight"}}) {
    INFO(architecture << " " << name);
    CHECK(TransformersName(architecture, name) == expected);
  }
}

TEST_CASE("gguf: what the converter did is told", "[gguf]") {
  const auto tensors = [](const std::string& architecture, uint32_t heads) {
    static std::vector<GgufFile> files;
    files.push_back(OpenGguf(GgufBuilder()
                                 .Text("general.architecture", architecture)
                                 .U32("llama.attention.head_count", heads)
                                 .Add("blk.0.attn_q.weight", 0, {1, 8}, std::string(32, '\0'))
                                 .Add("blk.0.attn_k.bias", 0, {8}, std::string(32, '\0'))
                                 .Add("blk.0.attn_norm.weight", 0, {1}, std::string(4, '\0'))
                                 .Add("blk.0.attn_q.scale", 0, {1}, std::string(4, '\0'))
                                 .Add("rope_freqs.weight", 0, {1}, std::string(4, '\0'))));
    return AsTransformers(files.back(), files.back());
  };
  const std::vector<Tensor> llama = tensors("llama", 2);
  REQUIRE(llama.size() == 4);  // rotary factors are no weights
  CHECK(llama[0].head_rows == 4);
  CHECK(llama[1].head_rows == 0);
  CHECK_FALSE(llama[1].plus_one);
  CHECK(llama[2].head_rows == 0);  // a scale
  CHECK(llama[3].head_rows == 4);
  for (const Tensor& tensor : tensors("qwen2", 2)) CHECK(tensor.head_rows == 0);
  CHECK(tensors("gemma3", 2)[1].plus_one);
  CHECK_FALSE(tensors("gemma3", 2)[2].plus_one);
  CHECK_ERROR(tensors("llama", 0), "whole heads", "attn_");
  CHECK_ERROR(tensors("llama", 3), "found 8 rows and 3 heads");
  CHECK_ERROR(tensors("llama", 8), "even number of rows");
}

}  // namespace
}  // namespace quantref
