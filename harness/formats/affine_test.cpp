#include "harness/quant/affine.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/formats/formats_testing.h"
#include "harness/testing/safetensors_builder.h"

// GPTQ, AWQ and the integers of compressed-tensors: what their settings say, and what of their
// oddities is counted.

namespace quantref {
namespace {

using testing::ForeignGolden;
using testing::ReadForeign;
using testing::Refusal;
using testing::ValuesOf;

TEST_CASE("gptq: settings that are not understood are refused by name") {
  const auto refusal = [](const char* key, const nlohmann::json& value) {
    return Refusal("gptq4_v1_sym", key, value);
  };
  CHECK(testing::Contains(refusal("bits", 5), "expected 2, 3, 4 or 8 for \"bits\", found 5"));
  CHECK(testing::Contains(refusal("group_size", 0), "group_size"));
  CHECK(testing::Contains(refusal("checkpoint_format", "marlin"), "\"marlin\""));
  CHECK(testing::Contains(refusal("desc_act", "yes"), "expected true or false for \"desc_act\""));
  CHECK(testing::Contains(refusal("format", "gptq_v2"), "differs"));
  CHECK(testing::Contains(refusal("pack_dtype", "int16"), "pack_dtype"));
  CHECK(testing::Contains(refusal("rotation", "hadamard"), "rotation"));
  CHECK(testing::Contains(refusal("is_marlin_format", true), "Marlin"));
}

TEST_CASE("gptq: rules of single matrices") {
  ForeignGolden golden("gptq4_v1_sym");
  golden.settings()["dynamic"] = {{"+:.*q_proj", {{"bits", 4}, {"group_size", 32}}},
                                  {"-:.*up_proj", nlohmann::json::object()}};
  golden.settings()["bits"] = 8;
  golden.settings()["group_size"] = 128;
  const ReadForeign read(golden);
  CHECK(read.found->type == "int4 g32 sym full");
  CHECK(read.files.opened->promised_bits() == 8);
  golden.settings()["dynamic"]["-:model.layers.0"] = nlohmann::json::object();
  CHECK_ERROR(ReadForeign(golden), "two rules", "q_proj");
  golden.settings()["dynamic"] = {{"-:.*q_proj", nlohmann::json::object()}};
  CHECK_ERROR(ReadForeign(golden), "qweight", "dynamic");
}

TEST_CASE("gptq: zero points of the first version that wrap are 0, and counted") {
  ForeignGolden golden("gptq4_v1_asym");
  const ReadForeign before(golden);
  CHECK(before.notes.empty());
  golden.numbers<uint32_t>("qzeros")[0] |= 0xf0fu;  // groups 0 of outputs 0 and 2
  const ReadForeign read(golden);
  CHECK(read.NoteCount("wrap") == 2);
  REQUIRE(read.weight.packed() != nullptr);
  CHECK(read.weight.packed()->affine(0, 0).zero == 0);
  CHECK(read.weight.packed()->affine(2, 0).zero == 0);
  CHECK(read.weight.packed()->affine(1, 0).zero == before.weight.packed()->affine(1, 0).zero);
  // The second version has no such zeros.
  golden.settings()["checkpoint_format"] = "gptq_v2";
  const ReadForeign second(golden);
  CHECK(second.NoteCount("wrap") == 0);
  CHECK(second.weight.packed()->affine(0, 0).zero == 15);
}

TEST_CASE("gptq: the other reading is what the folder would be if it said the other version") {
  for (const char* kind : {"gptq4_v1_asym", "gptq4_v2_act_order", "gptq3_v1_row", "gptq8_v1"}) {
    INFO(kind);
    ForeignGolden golden(kind);
    const ReadForeign read(golden);
    REQUIRE(read.found->other);
    const bool first = read.files.opened->format() == "gptq v1";
    const std::string version = first ? "gptq_v2" : "gptq";
    CHECK(read.found->other->setting == "checkpoint_format " + version);
    golden.settings().erase("format");
    golden.settings()["checkpoint_format"] = version;
    const std::vector<float> otherwise = ValuesOf(read.found->other->read());
    CHECK(otherwise == ValuesOf(ReadForeign(golden).weight));
    CHECK(otherwise != ValuesOf(read.weight));
  }
}

TEST_CASE("gptq: a checkpoint that says it is symmetric and is not") {
  ForeignGolden golden("gptq4_v1_sym");
  CHECK(ReadForeign(golden).weight.packed()->scheme().symmetric);
  *golden.numbers<uint32_t>("qzeros") ^= 1u;
  const ReadForeign read(golden);
  CHECK_FALSE(read.weight.packed()->scheme().symmetric);
  CHECK(read.NoteCount("off the middle") == 1);
}

TEST_CASE("gptq: groups by g_idx") {
  ForeignGolden golden("gptq4_v2_act_order");
  const ReadForeign whole(golden);
  const std::vector<float> values = ValuesOf(whole.weight);
  REQUIRE(whole.weight.packed() != nullptr);
  CHECK(whole.weight.packed()->order().size() == golden.cols());

  // Without the tensor, groups follow one another, where nothing speaks against it.
  ForeignGolden without = golden;
  without.Remove("g_idx");
  CHECK_ERROR(ReadForeign(without), "g_idx", "desc_act is true", "found none");
  without.settings()["desc_act"] = false;
  const ReadForeign consecutive(without);
  CHECK(consecutive.weight.packed()->order().empty());
  CHECK(ValuesOf(consecutive.weight) != values);

  // With it, but denied, kernels differ in what they read.
  CHECK(whole.NoteCount("although desc_act is false") == 0);
  ForeignGolden denied = golden;
  denied.settings()["desc_act"] = false;
  const ReadForeign by_index(denied);
  CHECK(ValuesOf(by_index.weight) == values);
  CHECK(by_index.NoteCount("although desc_act is false") == 1);

  // Groups of other sizes are decoded by rows.
  ForeignGolden uneven = golden;
  int32_t* const groups = uneven.numbers<int32_t>("g_idx");
  const size_t moved = groups[0] == 0 ? 1 : 0;
  groups[moved] = groups[moved] == 3 ? 2 : 3;
  const ReadForeign read(uneven);
  CHECK(read.weight.packed() == nullptr);
  CHECK(read.NoteCount("decoded by rows") == 1);
  const std::vector<float> decoded = ValuesOf(read.weight);
  for (size_t i = 0; i < values.size(); ++i) {
    if (i % golden.cols() != moved) REQUIRE(decoded[i] == values[i]);
  }
  CHECK(decoded != values);

  for (const int32_t wrong : {-1, 4, INT32_MAX}) {
    uneven.numbers<int32_t>("g_idx")[5] = wrong;
    CHECK_ERROR(ReadForeign(uneven), "g_idx", "groups from 0 to 3", std::to_string(wrong),
                "input 5");
  }
}

TEST_CASE("gptq: a part that is missing, and a matrix of which nothing is there") {
  ForeignGolden golden("gptq4_v1_sym");
  golden.Remove("scales");
  CHECK_ERROR(ReadForeign(golden), "scales", "beside the others of its matrix");
  std::erase_if(golden.tensors,
                [](const auto& item) { return item.first.starts_with(testing::kMatrix); });
  CHECK_ERROR(ReadForeign(golden), "q_proj.qweight", "or model.layers.0.self_attn.q_proj.weight",
              "none of its tensors");
}

TEST_CASE("gptq: what shapes cannot tell is refused, what is not known is told") {
  ForeignGolden golden("gptq4_v2_act_order");
  ForeignGolden empty = golden;
  const size_t cols = golden.cols();
  std::fill_n(empty.numbers<int32_t>("g_idx"), cols, 0);
  CHECK_ERROR(ReadForeign(empty), "g_idx", "inputs in all of 4 groups", "none in group 1");

  ForeignGolden other = golden;  // as many groups of another size
  other.Remove("g_idx");
  other.settings()["desc_act"] = false;
  other.settings()["group_size"] = cols / 4 + 1;
  CHECK_ERROR(ReadForeign(other), "g_idx", "do not fill", "found none");

  golden.settings()["act_bits"] = 8;
  golden.settings()["damp_percent"] = 0.01;
  const ReadForeign read(golden);
  std::vector<CountedNote> notes;
  read.files.opened->Others(notes);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].what.find("\"act_bits\" (8)") != std::string::npos);
}

TEST_CASE("gptq: biases of zeros are told, others are left to the model") {
  ForeignGolden golden("gptq4_v1_sym");
  golden.tensors[std::string(testing::kMatrix) + ".bias"] = {"F16", {32}, std::string(64, '\0')};
  golden.tensors["model.layers.0.mlp.up_proj.bias"] = {"F16", {32}, std::string(64, '\0')};
  const ReadForeign read(golden);
  std::vector<CountedNote> notes;
  CHECK(read.files.opened->Others(notes) ==
        std::vector<std::string>{std::string(testing::kMatrix) + ".bias"});
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].count == 1);
}

TEST_CASE("affine checkpoints: scales that are negative, zero, or no FP16 numbers") {
  ForeignGolden golden("gptq4_v1_asym");
  const std::vector<float> values = ValuesOf(ReadForeign(golden).weight);
  uint16_t* const scales = golden.numbers<uint16_t>("scales");
  scales[0] = static_cast<uint16_t>(scales[0] | 0x8000);
  const ReadForeign negative(golden);
  CHECK(negative.weight.packed() == nullptr);
  CHECK(negative.NoteCount("negative scale") == 1);
  std::vector<float> expected = values;
  for (size_t c = 0; c < 64; ++c) expected[c] = -expected[c] + 0.0f;
  CHECK(ValuesOf(negative.weight) == expected);
  CHECK(negative.weight.CodesSha256().size() == 64);

  scales[0] = 0;
  const ReadForeign zero(golden);
  CHECK(zero.weight.packed() != nullptr);
  CHECK(zero.notes.empty());  // whoever has the packed matrix counts them

  // FP32 scales: thirds of the FP16 ones are none, 2^-16 of them are under an exponent.
  for (const float factor : {1.0f / 3, 0x1p-16f, 1.0f}) {
    CAPTURE(factor);
    ForeignGolden wide("gptq4_v1_asym");
    const size_t count = wide.at("scales").bytes.size() / sizeof(uint16_t);
    std::vector<float> floats;
    for (size_t i = 0; i < count; ++i)
      floats.push_back(HalfToFloat(wide.numbers<uint16_t>("scales")[i]) * factor);
    wide.at("scales").dtype = "F32";
    wide.at("scales").bytes = testing::BytesOf(std::span<const float>(floats));
    const ReadForeign read(wide);
    CHECK((read.weight.packed() != nullptr) == (factor != 1.0f / 3));
    if (factor == 0x1p-16f) CHECK(read.weight.packed()->exponent() < 0);
    const std::vector<float> found = ValuesOf(read.weight);
    if (factor == 1.0f / 3) continue;
    for (size_t i = 0; i < values.size(); ++i) REQUIRE(found[i] == values[i] * factor);
  }
}

TEST_CASE("affine checkpoints: what an export says of its ranges names the scheme") {
  ForeignGolden golden("gptq4_v1_sym");
  golden.config["quantref"] = {{"full_range", false}};
  CHECK(SchemeName(ReadForeign(golden).weight.packed()->scheme()) == "int4 g32 sym");
  ForeignGolden awq("awq_gemm");
  awq.config["quantref"] = {{"zero_in_range", true}};
  CHECK(SchemeName(ReadForeign(awq).weight.packed()->scheme()) == "int4 g64 asym");
  // Where they differ, of which matrices.
  golden.config["quantref"]["full_range"] = {testing::kMatrix};
  CHECK(SchemeName(ReadForeign(golden).weight.packed()->scheme()) == "int4 g32 sym full");
  golden.config["quantref"]["full_range"] = {"model.layers.1.self_attn.q_proj"};
  CHECK(SchemeName(ReadForeign(golden).weight.packed()->scheme()) == "int4 g32 sym");
  golden.config["quantref"]["full_range"] = {1};
  CHECK_ERROR(ReadForeign(golden), "full_range", "list of matrices");
}

TEST_CASE("awq: settings that are not understood are refused by name") {
  const auto refusal = [](const char* key, const nlohmann::json& value) {
    return Refusal("awq_gemm", key, value);
  };
  CHECK(testing::Contains(refusal("bits", 3), "\"bits\", found 3"));
  CHECK(testing::Contains(refusal("version", "GEMV_FAST"), "\"gemv_fast\""));
  CHECK(testing::Contains(refusal("version", "marlin"), "\"marlin\""));
  CHECK(testing::Contains(refusal("checkpoint_format", "gemv"), "\"gemm\" and \"gemv\""));
  CHECK(testing::Contains(refusal("pack_dtype", "int16"), "pack_dtype"));
  CHECK(testing::Contains(refusal("zero_point", false), "zero points"));
  CHECK(testing::Contains(refusal("group_size", 48), "groups of 48"));
  ForeignGolden golden("awq_gemm");
  golden.settings()["version"] = "GEMM";
  CHECK(ReadForeign(golden).found->type == "int4 g64 asym min-max");
  nlohmann::json& settings = golden.settings();  // names of AutoAWQ's own file
  settings = {{"quant_method", "awq"}, {"w_bit", 4}, {"q_group_size", 64}, {"version", "GEMM"}};
  CHECK(ReadForeign(golden).weight.packed() != nullptr);
}

}  // namespace
}  // namespace quantref
