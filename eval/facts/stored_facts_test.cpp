#include "eval/facts/stored_facts.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::Contains;

// Of 64 weights.
MatrixFacts StoredAs(const std::string& name, const std::string& type, StoredCodes codes) {
  const bool coded = !std::holds_alternative<std::monostate>(codes);
  return {name, type, 8, 8, coded ? size_t{36} : size_t{128}, coded, std::move(codes)};
}

MatrixFacts StoredBlocks(const std::string& name, GgmlType type) {
  return StoredAs(name, std::string(GgmlRow(type).name), CodesOf(type));
}

const MatrixFacts kQ6Head = StoredBlocks("lm_head", GgmlType::kQ6K);
const MatrixFacts kKeptF16 = StoredAs("layers.0.v", "F16", {});

TEST_CASE(
    "stored_facts: a scheme is that of the blocks' codes, whatever the head and kept ones are",
    "[stored_facts]") {
  const WeightScheme int4 = {.bits = 4, .group = 32};
  const MatrixSources q4{.found = {kQ6Head, StoredBlocks("layers.0.q", GgmlType::kQ4_0), kKeptF16}},
      ours{.found = {StoredAs("layers.0.q", "int4 g32 asym", int4), kKeptF16}},
      plain{.found = {kKeptF16}}, head{.found = {kKeptF16, kQ6Head}};
  CHECK(StoredSchemeJson(q4) == RecordJson{{"name", "Q4_0, Q6_K"},
                                           {"bits", 4},
                                           {"granularity", "group"},
                                           {"symmetric", true},
                                           {"format", "Q4_0"},
                                           {"group", 32}});
  CHECK(StoredSchemeJson(ours) == SchemeJson(int4));
  CHECK(StoredSchemeJson(plain) ==
        RecordJson{{"name", "F16"}, {"bits", 16}, {"granularity", "none"}});
  CHECK(StoredSchemeJson(head)["format"] == "Q6_K");
  MatrixFacts fp32 = StoredAs("layers.0.q", "F32", {});
  fp32.bytes *= 2;
  const RecordJson wide = StoredSchemeJson({.found = {StoredAs("embed_tokens", "F16", {}), fp32}});
  CHECK(wide["bits"] == 32);
  CHECK(Contains(wide["name"].get<std::string>(), "F16"));
}

TEST_CASE("stored_facts: of codes that differ a scheme has what they have in common",
          "[stored_facts]") {
  const MatrixFacts q4 = StoredBlocks("layers.0.q", GgmlType::kQ4K),
                    q6 = StoredBlocks("layers.0.v", GgmlType::kQ6K),
                    q5 = StoredBlocks("layers.1.v", GgmlType::kQ5K),
                    int8 = StoredAs(
                        "layers.1.q", "int8 row sym",
                        WeightScheme{
                            .bits = 8, .granularity = Granularity::kRow, .symmetric = true}),
                    blocks = StoredAs("layers.1.k", "fp8_e4m3 block 8x8",
                                      BlockScheme{"fp8_e4m3", 8, "block"});
  const auto scheme = [](const MatrixFacts& a, const MatrixFacts& b, const MatrixFacts& c) {
    RecordJson json = StoredSchemeJson({.found = {a, b, c}});
    json.erase("name");
    return nlohmann::json(json);
  };
  CHECK(scheme(q4, q6, q4) == nlohmann::json{{"granularity", "group"}, {"format", "mixed"}});
  CHECK(scheme(q4, q5, q4) ==
        nlohmann::json{
            {"granularity", "group"}, {"format", "mixed"}, {"symmetric", false}, {"group", 32}});
  CHECK(scheme(int8, blocks, int8) ==
        nlohmann::json{
            {"bits", 8}, {"granularity", "mixed"}, {"symmetric", true}, {"format", "mixed"}});
  CHECK(scheme(int8, int8, q4) == nlohmann::json{{"granularity", "mixed"}, {"format", "mixed"}});
}

}  // namespace
}  // namespace quantref
