#include "harness/quant/stored_codes.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <span>
#include <variant>
#include <vector>

#include "harness/quant/ggml_blocks.h"
#include "harness/quant/ggml_blocks_testing.h"

namespace quantref {
namespace {

// The most different values of so many that follow each other, from a multiple of their number on.
size_t MostValues(std::span<const float> values, size_t count) {
  size_t most = 0;
  for (size_t at = 0; at + count <= values.size(); at += count) {
    const auto part = values.subspan(at, count);
    most = std::max(most, std::set<float>(part.begin(), part.end()).size());
  }
  return most;
}

TEST_CASE("stored_codes: groups of GGUF's types hold no more values than their bits have codes",
          "[stored_codes]") {
  size_t coded = 0;
  for (const testing::BlocksGolden& golden : testing::BlocksGoldens()) {
    const StoredCodes codes = CodesOf(golden.type->type);
    INFO(golden.type->name);
    CHECK(std::holds_alternative<std::monostate>(codes) == (golden.type->elements == 1));
    const auto* const scheme = std::get_if<BlockScheme>(&codes);
    if (scheme == nullptr) continue;
    ++coded;
    CHECK(scheme->format == golden.type->name);
    CHECK(scheme->granularity == "group");
    const size_t most = size_t{1} << scheme->bits;
    std::vector<float> values(golden.Values());
    DecodeGgml(golden.type->type,
               {reinterpret_cast<const std::byte*>(golden.blocks.data()), golden.blocks.size()},
               values);
    CHECK(MostValues(values, scheme->group) <= most);
    CHECK(MostValues(values, scheme->group) > std::min(most, scheme->group) / 2);
    // Beyond a group there is another scale.
    if (2 * scheme->group > most) CHECK(MostValues(values, 2 * scheme->group) > most);
  }
  CHECK(coded == 16);
}

}  // namespace
}  // namespace quantref
