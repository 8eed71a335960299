#include <catch2/catch.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "harness/base/sha256.h"
#include "harness/formats/formats_testing.h"

// Every reader against the files and the decoders of the tools themselves, bit for bit.

namespace quantref {
namespace {

using testing::ForeignGolden;
using testing::GoldenKinds;
using testing::ReadForeign;
using testing::ValuesOf;

// One byte a weight, by input.
std::vector<uint8_t> CodesByInput(const PackedMatrix& packed) {
  std::vector<uint8_t> all, codes(packed.cols()), by_input(packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.GetCodes(r, codes);
    for (size_t p = 0; p < codes.size(); ++p)
      by_input[packed.order().empty() ? p : packed.order()[p]] = codes[p];
    all.insert(all.end(), by_input.begin(), by_input.end());
  }
  return all;
}

TEST_CASE("foreign golden: values and codes are those of the tool that wrote them") {
  for (const std::string& kind : GoldenKinds()) {
    INFO(kind);
    const ForeignGolden golden(kind);
    const ReadForeign read(golden);
    REQUIRE(read.found);
    CHECK(read.found->type == golden.expected.at("type"));
    const std::vector<float> values = ValuesOf(read.weight);
    CHECK(std::vector<float>(values.begin(), values.begin() + 8) ==
          golden.expected.at("first").get<std::vector<float>>());
    CHECK(Sha256Hex(std::span<const float>(values)) == golden.expected.at("values"));
    const PackedMatrix* const packed = read.weight.packed();
    CHECK((packed != nullptr) == golden.expected.at("packed").get<bool>());
    CHECK(read.weight.quantized());
    if (packed != nullptr && golden.expected.contains("codes")) {
      const std::vector<uint8_t> codes = CodesByInput(*packed);
      CHECK(Sha256Hex(std::span<const uint8_t>(codes)) == golden.expected.at("codes"));
    }
  }
}

// All tensors of the folder are the matrix's: nothing is left that nobody looks at.
TEST_CASE("foreign golden: each tensor is told as the matrix's, once") {
  for (const std::string& kind : GoldenKinds()) {
    INFO(kind);
    const ForeignGolden golden(kind);
    const ReadForeign read(golden);
    std::vector<std::string> names = read.found->tensors;
    std::sort(names.begin(), names.end());
    std::vector<std::string> expected;
    for (const auto& [name, tensor] : golden.tensors) expected.push_back(name);
    CHECK(names == expected);
  }
}

std::string InputsName(const std::string& kind) {
  const ReadForeign read{ForeignGolden(kind)};
  if (!read.found->activations) return "";
  const ActivationFormat& format = *read.found->activations;
  std::string name = std::string(format.format->name) + std::to_string(format.bits);
  name += format.per_token ? " token" : " tensor";
  if (format.group > 0) name += " g" + std::to_string(format.group);
  if (format.static_scale) name += " static " + std::to_string(*format.static_scale);
  if (format.outliers) name += " " + OutlierName(*format.outliers);
  return name;
}

TEST_CASE("foreign golden: how inputs are rounded is told") {
  CHECK(InputsName("gptq4_v1_sym") == "");
  CHECK(InputsName("awq_gemm") == "");
  CHECK(InputsName("bnb_nf4") == "");
  CHECK(InputsName("ct_pack4_sym") == "");
  CHECK(InputsName("ct_nvfp4") == "");
  CHECK(InputsName("ct_pack8_a8") == "int8 token");
  CHECK(InputsName("ct_int8") == "int8 token");
  CHECK(InputsName("ct_int8_static") == "int8 tensor static 0.031000");
  CHECK(InputsName("ct_fp8_channel") == "fp8_e4m38 token");
  CHECK(InputsName("ct_fp8_static") == "fp8_e4m38 token static 0.011000");
  CHECK(InputsName("ct_fp8_block") == "fp8_e4m38 token g128");
  CHECK(InputsName("ct_nvfp4_a4") == "nvfp44 token g16 static 672.000000");
  CHECK(InputsName("bnb_int8") == "int8 token int8>=6");
  CHECK(InputsName("bnb_int8_plain") == "int8 token");
  CHECK(InputsName("fp8_block") == "fp8_e4m38 token g32");
  CHECK(InputsName("fp8_tensor") == "fp8_e4m38 token");
}

}  // namespace
}  // namespace quantref
