#include <catch2/catch.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/formats/ct_config.h"
#include "harness/formats/formats_testing.h"
#include "harness/testing/safetensors_builder.h"

namespace quantref {
namespace {

using testing::ForeignGolden;
using testing::ReadForeign;
using testing::ValuesOf;

template <typename Change>
std::string CtRefusal(const std::string& kind, const Change& change) {
  ForeignGolden golden(kind);
  change(golden.settings(), golden.settings()["config_groups"]["group_0"]);
  return testing::ErrorMessage([&] { ReadForeign read(golden); });
}

TEST_CASE("compressed_tensors: what would change the numbers and is not known is refused by name") {
  const auto top = [](const char* key, const nlohmann::json& value) {
    return CtRefusal("ct_pack4_sym", [&](auto& all, auto&) { all[key] = value; });
  };
  CHECK(testing::Contains(top("kv_cache_scheme", {{"num_bits", 8}}), "save the model without it"));
  CHECK(testing::Contains(top("transform_config", {{"R1", 1}}), "rotations"));
  CHECK(testing::Contains(top("sparsity_config", {{"format", "sparse-24-bitmask"}}), "sparse"));
  CHECK(testing::Contains(top("quantization_status", "frozen"), "\"frozen\""));
  CHECK(testing::Contains(top("surprise", 1), "\"surprise\""));
  CHECK(testing::Contains(top("format", 3), "format"));
  const auto of_group = [](const char* kind, const char* key, const nlohmann::json& value) {
    return CtRefusal(kind, [&](auto&, auto& group) { group[key] = value; });
  };
  CHECK(testing::Contains(of_group("ct_pack4_sym", "format", "marlin-24"), "\"marlin-24\""));
  CHECK(testing::Contains(of_group("ct_pack4_sym", "output_activations", {{"num_bits", 8}}),
                          "output_activations"));
  CHECK(testing::Contains(of_group("ct_pack4_sym", "weights", nullptr), "\"weights\""));
  const auto of_weights = [](const char* kind, const char* key, const nlohmann::json& value) {
    return CtRefusal(kind, [&](auto&, auto& group) { group["weights"][key] = value; });
  };
  CHECK(testing::Contains(of_weights("ct_pack4_sym", "group_size", 48), "groups of 48"));
  CHECK(testing::Contains(of_weights("ct_pack4_sym", "dynamic", true), "at run time"));
  CHECK(testing::Contains(of_weights("ct_pack4_sym", "num_bits", 1), "no integers"));
  CHECK(testing::Contains(of_weights("ct_pack4_sym", "strategy", "row"), "\"row\""));
  CHECK(testing::Contains(of_weights("ct_mxfp4", "group_size", 16), "mxfp4 g32"));
  CHECK(testing::Contains(of_weights("ct_fp8_channel", "num_bits", 4), "8-bit floats"));
}

TEST_CASE("compressed_tensors: rules of inputs that nothing here has are refused by name") {
  const auto refusal = [](const char* kind, const char* key, const nlohmann::json& value) {
    return CtRefusal(kind, [&](auto&, auto& group) { group["input_activations"][key] = value; });
  };
  CHECK(testing::Contains(refusal("ct_int8", "symmetric", false), "int8, token, dynamic, asym"));
  CHECK(testing::Contains(refusal("ct_fp8_channel", "strategy", "tensor"),
                          "float8, tensor, dynamic"));
  CHECK(testing::Contains(refusal("ct_nvfp4_a4", "dynamic", false), "tensor_group of 16, static"));
  CHECK(testing::Contains(refusal("ct_fp8_channel", "num_bits", 4), "float4, token, dynamic"));
}

TEST_CASE("compressed_tensors: what is told of rounded inputs") {
  CHECK(ReadForeign(ForeignGolden("ct_int8")).NoteCount("largest magnitude over 127") == 1);
  CHECK(ReadForeign(ForeignGolden("ct_int8_static")).NoteCount("lowest code") == 1);
  CHECK(ReadForeign(ForeignGolden("ct_fp8_channel")).notes.empty());
}

TEST_CASE("compressed_tensors: names beat expressions, these beat classes, and ignore beats all") {
  CtConfig config;
  config.groups = {{"linear", {"Linear"}, "a", {}, {}},
                   {"expression", {"re:.*down_proj", "re:model[.]layers[.]1[.].*"}, "b", {}, {}},
                   {"name", {"model.layers.1.mlp.up_proj"}, "c", {}, {}}};
  config.ignore = {"lm_head", "re:.*layers[.]7[.]"};
  const auto name = [&](const std::string& module) {
    const CtGroup* const group = GroupOf(config, module, "here");
    return group == nullptr ? "none" : group->name;
  };
  CHECK(name("model.layers.0.mlp.up_proj") == "linear");
  CHECK(name("model.layers.0.mlp.down_proj") == "expression");
  CHECK(name("model.layers.1.mlp.gate_proj") == "expression");
  CHECK(name("model.layers.1.mlp.up_proj") == "name");
  CHECK(name("model.layers.7.mlp.up_proj") == "none");
  CHECK(name("lm_head") == "none");
  CHECK(name("model.embed_tokens") == "none");
  CHECK(name("x.down_proj") == "expression");
  config.groups.push_back({"again", {"re:.*up_proj"}, "d", {}, {}});
  CHECK(name("model.layers.2.mlp.up_proj") == "again");
  CHECK_ERROR(name("model.layers.1.mlp.gate_proj_up_proj"), "here", "expression", "again");
}

TEST_CASE("compressed_tensors: matrices must be what the groups say") {
  ForeignGolden golden("ct_pack4_sym");
  golden.settings()["ignore"] = {"re:.*q_proj"};
  CHECK_ERROR(ReadForeign(golden), "no group", "found none");
  ForeignGolden plain("ct_pack4_sym");
  plain.tensors.clear();
  plain.tensors[std::string(testing::kMatrix) + ".weight"] = {"F16", {1, 2}, "abcd"};
  CHECK_ERROR(ReadForeign(plain), "weight_scale", "found none");
  plain.settings()["ignore"] = {"re:.*q_proj"};
  const testing::ForeignFiles files(plain);
  CHECK_FALSE(files.opened->Find(testing::kMatrix, 1, 2));
}

TEST_CASE("compressed_tensors: groups by weight_g_idx, as older versions wrote them") {
  ForeignGolden golden("ct_pack4_sym");
  const std::string name = std::string(testing::kMatrix) + ".weight_g_idx";
  std::vector<int32_t> groups(golden.cols());
  const auto put = [&] {
    golden.tensors[name] = {
        "I32", {groups.size()}, testing::BytesOf(std::span<const int32_t>(groups))};
  };
  const std::vector<float> values = ValuesOf(ReadForeign(golden).weight);
  std::fill(groups.begin(), groups.end(), -1);
  put();
  CHECK(ValuesOf(ReadForeign(golden).weight) == values);
  for (size_t c = 0; c < groups.size(); ++c) groups[c] = static_cast<int32_t>(c % 4);
  put();
  const ReadForeign read(golden);
  REQUIRE(read.weight.packed() != nullptr);
  CHECK(read.weight.packed()->order()[1] == 4);
  const std::vector<float> found = ValuesOf(read.weight);
  const PackedMatrix& packed = *read.weight.packed();
  const ReadForeign in_order{ForeignGolden("ct_pack4_sym")};
  std::vector<uint8_t> codes(golden.cols());
  in_order.weight.packed()->GetCodes(3, codes);
  for (size_t c = 0; c < codes.size(); ++c)
    REQUIRE(found[3 * golden.cols() + c] == packed.grid(3, c % 4).Decode(codes[c]));
  groups.assign(groups.size(), 0);
  put();
  CHECK_ERROR(ReadForeign(golden), "weight_g_idx", "all of 4 groups", "none in group 1");
  groups[3] = -1;
  put();
  CHECK_ERROR(ReadForeign(golden), "weight_g_idx", "found -1 for input 3");
  // Whoever ordered groups must say how.
  golden.tensors.erase(name);
  nlohmann::json& order = golden.settings()["config_groups"]["group_0"]["weights"]["actorder"];
  for (const char* in_place : {"weight", "static"}) {
    order = in_place;
    CHECK(ValuesOf(ReadForeign(golden).weight) == values);
  }
  for (const nlohmann::json& by_group : {nlohmann::json("group"), nlohmann::json(true)}) {
    order = by_group;
    CHECK_ERROR(ReadForeign(golden), "weight_g_idx", "actorder is group", "found none");
  }
  order = "columns";
  CHECK_ERROR(ReadForeign(golden), "actorder", "group, weight, or none");
}

TEST_CASE("compressed_tensors: settings within settings, as transformers takes them") {
  ForeignGolden golden("ct_pack4_sym");
  const std::vector<float> values = ValuesOf(ReadForeign(golden).weight);
  golden.settings() = {{"quant_method", "compressed-tensors"},
                       {"quantization_config", nlohmann::json(golden.settings())}};
  CHECK(ValuesOf(ReadForeign(golden).weight) == values);
  golden.settings()["sparsity_config"] = {{"format", "sparse-24-bitmask"}};
  CHECK_ERROR(ReadForeign(golden), "sparsity_config");
}

TEST_CASE("compressed_tensors: shapes and codes that cannot be") {
  ForeignGolden golden("ct_pack4_sym");
  golden.numbers<int64_t>("weight_shape")[1] = 127;
  CHECK_ERROR(ReadForeign(golden), "weight_shape", "expected (32, 128)", "found (32, 127)");
  ForeignGolden wide("ct_int8");
  wide.settings()["config_groups"]["group_0"]["weights"]["num_bits"] = 4;
  wide.numbers<int8_t>("weight")[0] = 8;
  CHECK_ERROR(ReadForeign(wide), "weight", "expected numbers from -8 to 7", "found");
}

TEST_CASE("compressed_tensors: zeros of symmetric integers are no zero points") {
  ForeignGolden golden("ct_int8");
  const std::string name = std::string(testing::kMatrix) + ".weight_zero_point";
  golden.tensors[name] = {"I8", {golden.rows(), 1}, std::string(golden.rows(), '\0')};
  const ReadForeign read(golden);
  CHECK(read.weight.packed()->scheme().symmetric);
  golden.tensors[name].bytes[7] = 1;
  const ReadForeign shifted(golden);
  CHECK_FALSE(shifted.weight.packed()->scheme().symmetric);
  CHECK(shifted.NoteCount("off the middle") == 1);
}

}  // namespace
}  // namespace quantref
