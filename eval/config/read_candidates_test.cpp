// Candidates in configs and on the command line.

#include "eval/config/read_candidates.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/testing/read_config.h"

namespace quantref {
namespace {

using Strings = std::vector<std::string>;
using testing::ReadConfigLine;

Strings LabelsOf(const RunConfig& config) {
  Strings labels;
  for (const CellConfig& cell : config.cells)
    if (cell.IsCandidate()) labels.push_back(cell.label + "=" + cell.candidate);
  return labels;
}

RunConfig ReadWithCandidates(const std::string& line, const Strings& candidates) {
  const testing::TempDir dir;
  testing::WriteFile(dir / "c.yaml", "name: x\n" + line + "\n");
  return ReadRunConfigs((dir / "c.yaml").string(), {}, candidates).at(0);
}

TEST_CASE("candidates: a list, one, or a map by labels; the command line adds") {
  const Strings two = {"a=a.gguf", "B.2=some/folder"};
  CHECK(LabelsOf(ReadConfigLine("candidates: [{label: a, path: a.gguf}, "
                                "{label: B.2, path: some/folder}]")) == two);
  CHECK(LabelsOf(ReadConfigLine("candidates: {a: a.gguf, B.2: some/folder}")) == two);
  CHECK(LabelsOf(ReadConfigLine("candidates: {label: a, path: a.gguf}")) == Strings{"a=a.gguf"});
  CHECK(LabelsOf(ReadConfigLine("offline: error")).empty());
  CHECK(LabelsOf(ReadWithCandidates("candidates: {a: a.gguf}", {"B.2=some/folder"})) == two);
  CHECK(LabelsOf(ReadWithCandidates("offline: error", two)) == two);
  CHECK(LabelsOf(ReadWithCandidates("offline: error", {"a=b=c.gguf"})) == Strings{"a=b=c.gguf"});
}

TEST_CASE("candidates: cells behind the methods, with nothing of the quantize section") {
  const RunConfig config = ReadConfigLine(
      "quantize: {methods: [rtn], kv_cache: {}, activations: {}}\ncandidates: {q: q.gguf}");
  REQUIRE(config.cells.size() == 2);
  CHECK_FALSE(config.cells[0].IsCandidate());
  CHECK(config.cells[1].label == "q");
  CHECK_FALSE(config.cells[1].kv_cache.has_value());
  CHECK_FALSE(config.cells[1].activations.has_value());
}

TEST_CASE("candidates: the resolved config has labels and the last part of paths") {
  const auto json = nlohmann::json::parse(
      ReadConfigLine("quantize: {methods: [rtn]}\ncandidates: {q: somewhere/q.gguf}").Resolved());
  CHECK(json["candidates"] == nlohmann::json::parse(R"([{"label": "q", "path": "q.gguf"}])"));
  CHECK(json["quantize"]["methods"] == nlohmann::json::parse(R"(["rtn"])"));
  CHECK_FALSE(
      nlohmann::json::parse(ReadConfigLine("offline: error").Resolved()).contains("candidates"));
}

TEST_CASE("candidates: what is wrong with them is said by name") {
  testing::CheckBadLines({
      {"candidates: [{label: a, path: x}, {label: a, path: y}]", {"the candidate 'a' has this"}},
      {"candidates: {rtn: x.gguf}\nquantize: {methods: [rtn]}", {"the method 'rtn' has this"}},
      {"candidates: {fp16: x.gguf}", {"'fp16' is the reference"}},
      {"candidates: {a/b: x.gguf}", {"expected up to 60 letters"}},
      {"candidates: {..: x.gguf}", {"a letter or digit among them"}},
      {"candidates: {'-': x.gguf}", {"a letter or digit among them"}},
      {"quantize: {methods: [{method: rtn, label: '='}]}", {"a letter or digit among them"}},
      {"candidates: [{label: a, path: x, bits: 4}]", {"unknown key"}},
      {"candidates: [x.gguf]", {"candidates", "found"}},
      {"candidates: [{label: a, path: x}]\nmodel: {synthetic: tiny}", {"no such section beside"}},
  });
  CHECK_ERROR(ReadConfigLine("candidates: [{label: a}]"), "candidates[0].path", ".gguf file",
              "found nothing");
  CHECK_ERROR(ReadConfigLine("candidates: [{path: a}]"), "candidates[0].label", "found nothing");
  for (const char* text : {"x.gguf", "=x.gguf", "a="})
    CHECK_ERROR(ReadWithCandidates("offline: error", {text}), "--candidate", "LABEL=PATH");
  const auto where = [](const std::string& line, const Strings& candidates) {
    try {
      ReadWithCandidates(line, candidates);
    } catch (const Error& error) {
      return error.where();
    }
    return std::string();
  };
  CHECK(where("offline: error", {"a=x", "a=y"}) == "--candidate a");
  CHECK(where("quantize: {methods: [rtn]}", {"rtn=x"}) == "--candidate rtn");
  CHECK(where("candidates: {a: x}", {"a=y"}) == "--candidate a");
  CHECK(where("quantize: {weights: {bits: [3, 4]}, methods: [rtn]}", {"rtn=x"}) ==
        "--candidate rtn");
  CHECK(where("offline: error", {"a/b=x"}) == "--candidate a/b");
  CHECK(testing::Contains(where("candidates: [{label: a, path: x}, {label: a, path: y}]", {}),
                          "candidates[1].label"));
}

}  // namespace
}  // namespace quantref
