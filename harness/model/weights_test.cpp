#include "harness/model/weights.h"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "harness/base/half.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

using testing::FileTensor;
using testing::FileTensors;
using testing::TempDir;
using testing::TinyModel;

using testing::kInfinity;
using testing::kNan;

// Loads what files of this config and these tensors hold. The mapped weights outlive the folder.
ModelWeights Load(const TinyModel& model, const FileTensors& tensors,
                  WeightType type = WeightType::kNative, size_t threads = 1) {
  const TempDir dir;
  testing::WriteFile(dir / "config.json", testing::TinyConfig(model).dump());
  testing::WriteTensors(dir.path(), tensors);
  return LoadWeights(ReadConfig(dir / "config.json"), Checkpoint::Open(dir.path()), type, threads);
}

std::vector<float> Flat(const Matrix<float>& matrix) {
  return {matrix.data(), matrix.data() + matrix.rows() * matrix.cols()};
}

// What the tensor's numbers are, one by one.
std::vector<float> Values(const FileTensor& tensor) {
  const auto element = [&](size_t at, size_t bytes) {
    uint32_t bits = 0;
    for (size_t i = bytes; i-- > 0;) {
      bits = bits << 8 | static_cast<uint8_t>(tensor.bytes[at * bytes + i]);
    }
    return bits;
  };
  std::vector<float> values;
  const size_t width = tensor.dtype == "F32" ? 4 : 2;
  for (size_t i = 0; i < tensor.bytes.size() / width; ++i) {
    const uint32_t bits = element(i, width);
    if (tensor.dtype == "F16") {
      values.push_back(HalfToFloat(static_cast<uint16_t>(bits)));
    } else {
      values.push_back(std::bit_cast<float>(tensor.dtype == "BF16" ? bits << 16 : bits));
    }
  }
  return values;
}

// The tensor with one number replaced.
FileTensor With(const FileTensor& tensor, size_t at, float value) {
  std::vector<float> values = Values(tensor);
  values.at(at) = value;
  return {tensor.dtype, tensor.shape, testing::Stored(values, tensor.dtype)};
}

// The part of a tensor's name that messages of every kind have.
std::string ShortName(std::string name) {
  if (name.starts_with("model.")) name.erase(0, 6);
  return name.substr(0, name.rfind(".weight"));
}

// Every weight of the model under the name that a file has for it.
std::vector<std::pair<std::string, std::vector<float>>> AllValues(const ModelWeights& weights) {
  std::vector<std::pair<std::string, std::vector<float>>> all;
  const auto add_linear = [&all](const std::string& prefix, const Linear& linear) {
    all.emplace_back(prefix + linear.name + ".weight", Flat(linear.weight.Decode()));
    if (!linear.bias.empty()) all.emplace_back(prefix + linear.name + ".bias", linear.bias);
  };
  add_linear("model.", weights.embedding);
  for (size_t i = 0; i < weights.blocks.size(); ++i) {
    const BlockWeights& block = weights.blocks[i];
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    all.emplace_back(layer + "input_layernorm.weight", block.norms[kAttentionNorm]);
    all.emplace_back(layer + "post_attention_layernorm.weight", block.norms[kMlpNorm]);
    for (const Linear& linear : block.linears) add_linear("model.", linear);
  }
  all.emplace_back("model.norm.weight", weights.final_norm);
  if (!weights.head.weight.SharesStorage(weights.embedding.weight)) add_linear("", weights.head);
  return all;
}

size_t CountOf(const ModelWeights& weights) {
  size_t count = 0;
  for (const auto& [name, values] : AllValues(weights)) count += values.size();
  return count;
}

TEST_CASE("weights: every tensor is where its name says", "[weights]") {
  for (const char* dtype : {"F32", "F16", "BF16"}) {
    for (const bool option : {false, true}) {
      INFO(dtype << ", option " << option);
      const TinyModel model{
          .attention_bias = option, .mlp_bias = option, .tied = option, .dtype = dtype};
      const FileTensors tensors = testing::TinyTensors(model);
      const ModelWeights weights = Load(model, tensors);
      const auto all = AllValues(weights);
      CHECK(all.size() == tensors.size());
      for (const auto& [name, values] : all) {
        INFO(name);
        REQUIRE(tensors.contains(name));
        CHECK(values == Values(tensors.at(name)));
      }
      CHECK(weights.head.name == "lm_head");
    }
  }
}

TEST_CASE("weights: as many as the config counts", "[weights]") {
  for (const bool attention_bias : {false, true}) {
    for (const bool mlp_bias : {false, true}) {
      const TinyModel model{.attention_bias = attention_bias,
                            .mlp_bias = mlp_bias,
                            .tied = attention_bias != mlp_bias};
      const TempDir dir;
      testing::WriteTinyModel(dir.path(), model);
      CHECK(CountOf(Load(model, testing::TinyTensors(model))) ==
            ReadConfig(dir / "config.json").Parameters());
    }
  }
}

TEST_CASE("weights: each missing tensor is named", "[weights]") {
  const TinyModel model{.layers = 1, .attention_bias = true, .mlp_bias = true};
  const FileTensors tensors = testing::TinyTensors(model);
  for (const auto& [name, tensor] : tensors) {
    FileTensors incomplete = tensors;
    incomplete.erase(name);
    CHECK_ERROR(Load(model, incomplete), "\"" + name + "\"");
  }
}

TEST_CASE("weights: each misshapen tensor is named, with both shapes", "[weights]") {
  const TinyModel model{.layers = 1, .attention_bias = true, .mlp_bias = true};
  const FileTensors tensors = testing::TinyTensors(model);
  for (const auto& [name, tensor] : tensors) {
    FileTensors misshapen = tensors;
    misshapen[name].shape.insert(misshapen[name].shape.begin(), 1);
    CHECK_ERROR(Load(model, misshapen), "tensor " + name, "asks for shape (", "found (1, ");
  }
  FileTensors transposed = tensors;
  transposed["model.layers.0.mlp.up_proj.weight"].shape = {32, 48};
  CHECK_ERROR(Load(model, transposed), "up_proj", "shape (48, 32)", "found (32, 48)");
  FileTensors wider = tensors;
  wider["model.norm.weight"] = tensors.at("model.layers.0.mlp.up_proj.bias");
  CHECK_ERROR(Load(model, wider), "model.norm.weight", "shape (32)", "found (48)");
}

TEST_CASE("weights: each tensor of another type is named", "[weights]") {
  const TinyModel model{.layers = 1, .attention_bias = true};
  const FileTensors tensors = testing::TinyTensors(model);
  for (const auto& [name, tensor] : tensors) {
    FileTensors wrong = tensors;
    wrong[name].dtype = "I8";
    wrong[name].bytes.resize(tensor.bytes.size() / 4);
    CHECK_ERROR(Load(model, wrong), "tensor " + name, "expected F32, F16 or BF16", "found I8");
  }
  FileTensors wide = tensors;
  wide["model.norm.weight"] = {"F64", {32}, std::string(32 * 8, '\0')};
  CHECK_ERROR(Load(model, wide), "model.norm.weight", "found F64");
}

TEST_CASE("weights: types may be mixed", "[weights]") {
  const TinyModel model;
  FileTensors tensors = testing::TinyTensors(model);
  const std::string name = "model.layers.1.mlp.gate_proj.weight";
  tensors[name] = testing::TinyTensors({.dtype = "F16", .seed = 5})[name];
  const ModelWeights weights = Load(model, tensors);
  CHECK(Flat(weights.blocks[1].linears[kGate].weight.Decode()) == Values(tensors[name]));
  CHECK(weights.blocks[1].linears[kGate].weight.StorageBits() == 48 * 32 * 16);
  CHECK(weights.blocks[0].linears[kGate].weight.StorageBits() == 48 * 32 * 32);
}

TEST_CASE("weights: numbers that are not finite are refused wherever they are", "[weights]") {
  for (const char* dtype : {"F32", "F16", "BF16"}) {
    // More rows than are checked at a time.
    const TinyModel model{
        .hidden = 16, .layers = 1, .vocab = 130, .attention_bias = true, .dtype = dtype};
    const FileTensors tensors = testing::TinyTensors(model);
    for (const auto& [name, tensor] : tensors) {
      INFO(dtype << " " << name);
      const size_t last = Values(tensor).size() - 1;
      for (const auto& [at, value] :
           {std::pair(size_t{0}, kNan), {last, kInfinity}, {last / 2, -kInfinity}}) {
        FileTensors broken = tensors;
        broken[name] = With(tensor, at, value);
        CHECK_ERROR(Load(model, broken, WeightType::kNative, at == 0 ? 1 : 3), ShortName(name),
                    "expected finite numbers");
      }
    }
  }
}

TEST_CASE("weights: a tensor that no part would use is refused", "[weights]") {
  const TinyModel model;
  const FileTensors tensors = testing::TinyTensors(model);
  for (const std::string name :
       {"model.layers.0.self_attn.q_norm.weight", "model.layers.0.self_attn.q_proj.bias",
        "model.layers.1.mlp.down_proj.bias", "model.layers.2.input_layernorm.weight",
        "lm_head.bias", "model.layers.0.inv_freq", "rotary_emb.inv_freq.weight", "norm.weight"}) {
    FileTensors extended = tensors;
    extended[name] = tensors.at("model.norm.weight");
    CHECK_ERROR(Load(model, extended), "tensor " + name, "belongs to nothing");
  }
}

TEST_CASE("weights: old exporters' rotary buffers are ignored", "[weights]") {
  const TinyModel model;
  FileTensors tensors = testing::TinyTensors(model);
  for (const char* name :
       {"model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"}) {
    // Their numbers are not looked at.
    tensors[name] = With(tensors["model.norm.weight"], 0, kNan);
  }
  CHECK(Load(model, tensors).blocks.size() == 2);
}

TEST_CASE("weights: a tied head", "[weights]") {
  const TinyModel model{.tied = true};
  const FileTensors tensors = testing::TinyTensors(model);
  const FileTensor& embedding = tensors.at("model.embed_tokens.weight");
  const ModelWeights alone = Load(model, tensors);
  CHECK(alone.head.weight.SharesStorage(alone.embedding.weight));
  CHECK(alone.head.name == "lm_head");

  FileTensors twice = tensors;
  twice["lm_head.weight"] = embedding;
  const ModelWeights both = Load(model, twice);
  CHECK(both.head.weight.SharesStorage(both.embedding.weight));

  for (const size_t at : {size_t{0}, size_t{64 * 32 - 1}}) {
    FileTensors differing = tensors;
    differing["lm_head.weight"] = With(embedding, at, 3.25f);
    CHECK_ERROR(Load(model, differing), "lm_head.weight differs", "tie_word_embeddings");
  }
  FileTensors narrower = tensors;
  narrower["lm_head.weight"] = {"F16", embedding.shape, embedding.bytes.substr(0, 64 * 32 * 2)};
  CHECK_ERROR(Load(model, narrower), "lm_head.weight differs");
  FileTensors misshapen = tensors;
  misshapen["lm_head.weight"] = tensors.at("model.norm.weight");
  CHECK_ERROR(Load(model, misshapen), "lm_head.weight", "shape (64, 32)");
}

TEST_CASE("weights: an untied head is its own, even with equal bytes", "[weights]") {
  const TinyModel model;
  FileTensors tensors = testing::TinyTensors(model);
  tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"];
  const ModelWeights weights = Load(model, tensors);
  CHECK_FALSE(weights.head.weight.SharesStorage(weights.embedding.weight));
}

TEST_CASE("weights: fp16 rounds every number to the nearest FP16", "[weights]") {
  for (const char* dtype : {"F32", "BF16", "F16"}) {
    INFO(dtype);
    const TinyModel model{.attention_bias = true, .dtype = dtype};
    FileTensors tensors = testing::TinyTensors(model);
    size_t at = 0;
    // FP16's subnormals, numbers below them, its largest, a tie to even and signed zero.
    for (const float value : {3.1e-6f, -2.9e-8f, 3e-8f, 1e-30f, 65504.0f, 1.00048828125f, -0.0f}) {
      for (const char* name : {"model.embed_tokens.weight", "model.norm.weight"}) {
        tensors[name] = With(tensors[name], at, value);
      }
      at += 3;
    }
    const ModelWeights native = Load(model, tensors);
    const ModelWeights rounded = Load(model, tensors, WeightType::kFp16);
    const auto before = AllValues(native), after = AllValues(rounded);
    REQUIRE(before.size() == after.size());
    for (size_t i = 0; i < before.size(); ++i) {
      INFO(before[i].first);
      std::vector<float> expected = before[i].second;
      for (float& value : expected) value = RoundToHalf(value);
      CHECK(after[i].second == expected);
    }
    CHECK(rounded.blocks[0].linears[kQ].weight.StorageBits() == 32 * 32 * 16);
    CHECK(native.blocks[0].linears[kQ].weight.StorageBits() ==
          32 * 32 * (dtype[0] == 'F' && dtype[1] == '3' ? 32 : 16));
  }
}

TEST_CASE("weights: fp16 refuses what FP16 cannot hold", "[weights]") {
  const TinyModel model{.attention_bias = true};
  const FileTensors tensors = testing::TinyTensors(model);
  for (const std::string name : {"model.layers.1.mlp.down_proj.weight", "model.norm.weight",
                                 "model.layers.0.self_attn.k_proj.bias"}) {
    for (const float value : {65520.0f, -1e30f}) {
      FileTensors large = tensors;
      large[name] = With(tensors.at(name), 11, value);
      CHECK_ERROR(Load(model, large, WeightType::kFp16), ShortName(name),
                  "does not fit FP16 (at most 65504)");
      CHECK_NOTHROW(Load(model, large));
    }
    FileTensors largest = tensors;
    largest[name] = With(tensors.at(name), 11, 65519.0f);  // rounds to 65504
    CHECK_NOTHROW(Load(model, largest, WeightType::kFp16));
  }
}

TEST_CASE("weights: fp16 refuses tensors that FP16 would lose", "[weights]") {
  const TinyModel model{.attention_bias = true};
  const FileTensors tensors = testing::TinyTensors(model);
  for (const std::string name : {"model.layers.1.mlp.down_proj.weight", "model.norm.weight",
                                 "model.layers.0.self_attn.k_proj.bias"}) {
    FileTensors small = tensors;
    std::vector<float> values(tensors.at(name).bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensors.at(name).bytes.data(), tensors.at(name).bytes.size());
    for (float& value : values) value *= 1e-6f;
    small[name].bytes = testing::Stored(values, "F32");
    CHECK_ERROR(Load(model, small, WeightType::kFp16), ShortName(name), "FP16 is too coarse");
    CHECK_NOTHROW(Load(model, small));
  }
}

TEST_CASE("weights: fp16 rounds once, into memory that is counted", "[weights]") {
  for (const bool tied : {false, true}) {
    const TinyModel model{.tied = tied, .dtype = "BF16"};
    const ModelWeights rounded = Load(model, testing::TinyTensors(model), WeightType::kFp16);
    size_t numbers = 0;
    for (const Linear* linear : AllLinears(rounded)) {
      REQUIRE(linear->weight.dense().has_value());
      CHECK(linear->weight.dense()->type == DenseRows::Type::kFp16);
      numbers += linear->weight.rows() * linear->weight.cols();
    }
    CHECK(OwnBytes(rounded) == 2 * numbers);
    CHECK(rounded.head.weight.SharesStorage(rounded.embedding.weight) == tied);
    CHECK(OwnBytes(Load(model, testing::TinyTensors(model))) == 0);
  }
}

}  // namespace
}  // namespace quantref
