#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/config/read_config.h"
#include "harness/testing/testing.h"

// Configs as texts, for the tests of what reads them.

namespace quantref::testing {

// Of one that is no study.
inline RunConfig ReadConfigText(const std::string& text,
                                const std::vector<std::string>& assignments = {}) {
  const TempDir dir;
  WriteFile(dir / "c.yaml", text);
  std::vector<RunConfig> configs = ReadRunConfigs((dir / "c.yaml").string(), assignments);
  REQUIRE(configs.size() == 1);
  return configs[0];
}

// A config whose line 2 is that one.
inline RunConfig ReadConfigLine(const std::string& line) {
  return ReadConfigText("name: x\n" + line + "\n");
}

// A line and what its message must have besides "c.yaml:2: ".
struct BadLine {
  std::string line;
  std::vector<std::string> parts;
};

inline void CheckBadLines(const std::vector<BadLine>& bad_lines) {
  for (const BadLine& bad : bad_lines) {
    INFO(bad.line);
    const std::string message = ErrorMessage([&] { ReadConfigLine(bad.line); });
    INFO(message);
    CHECK(message.find("/c.yaml:2: ") != std::string::npos);
    for (const std::string& part : bad.parts)
      CHECK((message.find(part) == std::string::npos ? part : "") == "");
  }
}

}  // namespace quantref::testing
