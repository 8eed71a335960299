#pragma once

#include <catch2/catch.hpp>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "harness/base/sha256.h"
#include "harness/io/ggml_type.h"
#include "harness/io/json_file.h"
#include "harness/testing/testing.h"

// Blocks of every type and what Python's gguf decodes them to: testdata/ggml_blocks.json, from
// scripts/goldens/ggml_blocks.py. Only tests include this.

namespace quantref::testing {

struct BlocksGolden {
  const GgmlTypeRow* type;
  std::string blocks;
  std::vector<float> first;  // values
  std::string sha256;        // of all values

  size_t Values() const { return blocks.size() / type->bytes * type->elements; }

  void Check(std::span<const float> values) const {
    REQUIRE(values.size() >= first.size());
    for (size_t i = 0; i < first.size(); ++i) CHECK(values[i] == first[i]);
    CHECK(Sha256Hex(values) == sha256);
  }
};

inline const GgmlTypeRow* GgmlTypeNamed(const std::string& name) {
  for (uint32_t number = 0; number < 64; ++number) {
    const GgmlTypeRow* row = FindGgmlType(number);
    if (row != nullptr && row->name == name) return row;
  }
  FAIL("no type " + name);
  return nullptr;
}

inline std::vector<BlocksGolden> BlocksGoldens() {
  std::vector<BlocksGolden> goldens;
  const auto file = ReadJsonFile(SourceDir() / "harness/quant/testdata/ggml_blocks.json");
  for (const auto& [name, golden] : file.items()) {
    std::string blocks;
    const auto hex = golden["blocks"].get<std::string>();
    for (size_t i = 0; i < hex.size(); i += 2)
      blocks += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    goldens.push_back({GgmlTypeNamed(name), std::move(blocks),
                       golden["first"].get<std::vector<float>>(),
                       golden["sha256"].get<std::string>()});
    REQUIRE(goldens.back().blocks.size() % goldens.back().type->bytes == 0);
  }
  return goldens;
}

}  // namespace quantref::testing
