// Studies: which configs a file with lists stands for.

#include "eval/config/sweep.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/testing/read_config.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using Strings = std::vector<std::string>;

std::vector<RunConfig> ReadStudy(const std::string& text, const Strings& assignments = {}) {
  const testing::TempDir dir;
  testing::WriteFile(dir / "s.yaml", text);
  return ReadRunConfigs((dir / "s.yaml").string(), assignments);
}

Strings Names(const std::vector<RunConfig>& configs) {
  Strings names;
  for (const RunConfig& config : configs) names.push_back(config.name);
  return names;
}

constexpr char kGrid[] =
    "name: grid\n"
    "quantize:\n"
    "  methods: [rtn, gptq]\n"
    "  weights: {group: [32, row], bits: [2, 4]}\n";

TEST_CASE("study: lists make a grid, in names as in values") {
  const std::vector<RunConfig> points = ReadStudy(kGrid);
  CHECK(Names(points) ==
        Strings{"grid-int2-g32", "grid-int2-row", "grid-int4-g32", "grid-int4-row"});
  for (const RunConfig& point : points) {
    CHECK(point.study == "grid");
    CHECK(point.cells.size() == 2);
  }
  CHECK(points[1].cells[0].quantize.weights.bits == 2);
  CHECK(points[1].cells[0].quantize.weights.granularity == Granularity::kRow);
  CHECK(points[2].cells[1].quantize.weights.bits == 4);
  CHECK(points[2].cells[1].quantize.weights.group == 32);
}

TEST_CASE("study: an axis of groups has every granularity") {
  const std::vector<RunConfig> points = ReadStudy(
      "name: s\nquantize: {methods: [rtn], weights: {group: [tensor, column, row, 32]}}\n");
  REQUIRE(Names(points) == Strings{"s-tensor", "s-column", "s-row", "s-g32"});
  const Granularity expected[] = {Granularity::kTensor, Granularity::kColumn, Granularity::kRow,
                                  Granularity::kGroup};
  for (size_t i = 0; i < points.size(); ++i)
    CHECK(points[i].cells[0].quantize.weights.granularity == expected[i]);
  CHECK(points[1].Resolved() ==
        testing::ReadConfigText(
            "name: s-column\nquantize: {methods: [rtn], weights: {granularity: column}}\n")
            .Resolved());
}

TEST_CASE("study: a point resolves to what a file of its own does") {
  const std::string text =
      "model: {name: [wikilm-2m, a/folder]}\n"
      "quantize:\n"
      "  methods: [rtn, {method: gptq, label: x, gptq: {damp: 0.1}}]\n"
      "  weights: {bits: [3, 8], group: [64, row], symmetric: [true, false]}\n"
      "  activations: {bits: [4, 8]}\n"
      "calibration: {samples: [8, 16], length: [128], seeds: [3, 4]}\n"
      "accuracy: {protocol: [gptq-2048, full-stride]}\n";
  const std::vector<RunConfig> points = ReadStudy("name: s\n" + text);
  REQUIRE(points.size() == 128);
  const RunConfig own = testing::ReadConfigText(
      "name: s-folder-full-stride-n16-len128-int3-row-sym-a8\n"
      "model: {name: a/folder}\n"
      "quantize:\n"
      "  methods: [rtn, {method: gptq, label: x, gptq: {damp: 0.1}}]\n"
      "  weights: {bits: 3, group: row, symmetric: true}\n"
      "  activations: {bits: 8}\n"
      "calibration: {samples: 16, length: 128, seeds: [3, 4]}\n"
      "accuracy: {protocol: full-stride}\n");
  size_t equal = 0;
  std::set<std::string> resolved;
  for (const RunConfig& point : points) {
    resolved.insert(point.Resolved());
    if (point.name != own.name) continue;
    ++equal;
    CHECK(point.Resolved() == own.Resolved());
  }
  CHECK(equal == 1);
  CHECK(resolved.size() == points.size());
}

TEST_CASE("study: a flag is named after what it chooses") {
  CHECK(Names(ReadStudy("name: s\ncalibration: {sequential: [yes, false]}\n"
                        "quantize: {weights: {symmetric: [false, true]}}\n"
                        "exclude: [{calibration.sequential: no, quantize.weights.symmetric: "
                        "true}]\n")) == Strings{"s-seq-asym", "s-seq-sym", "s-ref-asym"});
}

TEST_CASE("study: texts of calibration are named after the data set, or after their file") {
  CHECK(Names(ReadStudy(
            "name: s\ncalibration: {dataset: [wikitext-2, a/b.txt], samples: [8, 16]}\n")) ==
        Strings{"s-wikitext-2-n8", "s-wikitext-2-n16", "s-b.txt-n8", "s-b.txt-n16"});
}

TEST_CASE("study: what is expensive to load changes least often") {
  const Strings names =
      Names(ReadStudy("name: s\nquantize: {weights: {bits: [2, 3]}}\n"
                      "accuracy: {protocol: [gptq-2048, llamacpp-512]}\nmodel: [a, b]\n"));
  CHECK(names == Strings{"s-a-gptq-2048-int2", "s-a-gptq-2048-int3", "s-a-llamacpp-512-int2",
                         "s-a-llamacpp-512-int3", "s-b-gptq-2048-int2", "s-b-gptq-2048-int3",
                         "s-b-llamacpp-512-int2", "s-b-llamacpp-512-int3"});
}

TEST_CASE("study: a list of one is a study, a file without lists is none") {
  const std::vector<RunConfig> one = ReadStudy("name: s\nmodel: [./a/b/]\n");
  REQUIRE(Names(one) == Strings{"s-b"});
  CHECK(one[0].model.name == "./a/b/");
  CHECK(ReadStudy("name: s\nmodel: a\n")[0].study == "");
  CHECK(ReadStudy("name: s\ncalibration: {seeds: [0, 1]}\n").size() == 1);
}

TEST_CASE("study: --set makes, narrows and ends one") {
  CHECK(Names(ReadStudy("name: s\n", {"quantize.weights.bits=[2, 3]"})) ==
        Strings{"s-int2", "s-int3"});
  CHECK(Names(ReadStudy(kGrid, {"quantize.weights.bits=[8]"})) ==
        Strings{"grid-int8-g32", "grid-int8-row"});
  const std::vector<RunConfig> plain =
      ReadStudy(kGrid, {"quantize.weights.bits=8", "quantize.weights.group=64"});
  REQUIRE(Names(plain) == Strings{"grid"});
  CHECK(plain[0].study == "");
}

TEST_CASE("study: exclude leaves out points, or methods of points") {
  const std::string grid = kGrid;
  CHECK(Names(ReadStudy(grid + "exclude: [{quantize.weights.bits: 2}]\n")) ==
        Strings{"grid-int4-g32", "grid-int4-row"});
  CHECK(Names(ReadStudy(grid + "exclude:\n"
                               "- {quantize.weights.bits: [2, 4], quantize.weights.group: row}\n"
                               "- {quantize.weights.bits: 2}\n")) == Strings{"grid-int4-g32"});
  const std::vector<RunConfig> without =
      ReadStudy(grid + "exclude: [{quantize.weights.bits: 4, quantize.methods: gptq}]\n");
  REQUIRE(without.size() == 4);
  CHECK(without[0].cells.size() == 2);
  REQUIRE(without[2].cells.size() == 1);
  CHECK(without[2].cells[0].label == "rtn");
  CHECK(without[2].Resolved() ==
        testing::ReadConfigText("name: grid-int4-g32\n"
                                "quantize: {methods: [rtn], weights: {bits: 4, group: 32}}\n")
            .Resolved());
  CHECK(ReadStudy(grid + "exclude: [{quantize.weights.bits: 4, quantize.methods: [gptq, rtn]}]\n")
            .size() == 2);
}

TEST_CASE("study: mistakes in exclude are told with their line") {
  const auto message = [](const std::string& exclude) {
    return testing::ErrorMessage([&] { ReadStudy(kGrid + exclude); });
  };
  const auto check = [&](const std::string& exclude,
                         std::initializer_list<std::string_view> parts) {
    const std::string found = message(exclude);
    INFO(found);
    CHECK(testing::MissingPart(found, parts) == "");
  };
  check("exclude: [{quantize.weights.bits: 3}]\n",
        {"s.yaml:5: exclude[0].quantize.weights.bits", "one of 2, 4, found '3'"});
  check("exclude:\n- {quantize.weights.bit: 2}\n",
        {"s.yaml:6: ", "unknown key", "did you mean 'quantize.weights.bits'?"});
  check("exclude: [{quantize.methods: gptq}]\n", {"s.yaml:5: exclude[0]", "found none"});
  check("exclude: [{quantize.weights.bits: 2, quantize.methods: gtpq}]\n",
        {"s.yaml:5: exclude[0]", "'gtpq'", "did you mean 'gptq'?"});
  check("exclude: [{quantize.weights.bits: [2, 4]}]\n", {"s.yaml: exclude", "none is left"});
  check("exclude: {quantize.weights.bits: 3}\n", {"s.yaml:5: exclude[0].", "found '3'"});
  check("exclude: [2]\n", {"s.yaml:5: exclude[0]", "expected a map"});
  CHECK_ERROR(ReadStudy("name: s\nexclude: []\n"), "s.yaml:2: exclude", "unknown key");
}

TEST_CASE("study: mistakes in values are told with their line and the point") {
  const auto check = [](const std::string& text, std::initializer_list<std::string_view> parts) {
    const std::string found = testing::ErrorMessage([&] { ReadStudy("name: s\n" + text); });
    INFO(found);
    CHECK(testing::MissingPart(found, parts) == "");
  };
  check("quantize:\n  weights:\n    bits:\n    - 4\n    - 9\n",
        {"s.yaml:6: quantize.weights.bits", "from 2 to 8, found '9'",
         "point quantize.weights.bits: 9"});
  check("quantize: {weights: {bits: [4], group: [x, 32]}}\n",
        {"s.yaml:2: quantize.weights.group", "'row'", "bits: 4, quantize.weights.group: x"});
  check("quantize: {weights: {bits: []}}\n", {"s.yaml:2: quantize.weights.bits", "empty list"});
  check("quantize: {weights: {bits: [4, 3, 4]}}\n", {"s.yaml:2: ", "'int4' twice"});
  check("quantize: {weights: {group: [0, row]}}\n", {"s.yaml:2: ", "'row' twice"});
  check("model: [a/x, b/x]\n", {"s.yaml:2: model", "'x' twice", "their last part counts"});
  check("quantize: {weights: {bits: [[4]]}}\n", {"s.yaml:2: ", "found a list"});
  check("accuracy: {protocol: [gptq-2048, gptq2048]}\n", {"s.yaml:2: ", "did you mean"});
  check("calibration: {seed: [0, 1]}\n", {"s.yaml:2: calibration.seed", "seeds: [0, 1]"});
  check("model: [" + std::string(90, 'm') + "]\n", {"s.yaml:1: name", "up to 80 letters"});
  CHECK_ERROR(ReadStudy("name: s\n", {"quantize.weights.bits=[4, 9]"}),
              "--set quantize.weights.bits", "found '9'");
  std::string many = "calibration: {samples: [1";
  for (int i = 2; i <= 100; ++i) many += ", " + std::to_string(i);
  check(many + "], length: [" + many.substr(many.find('[') + 1) + "]}\n",
        {"s.yaml:2: calibration.length", "at most 4096 points"});
}

TEST_CASE("study: every file of configs/studies is one, and bears its own name") {
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(testing::SourceDir() / "configs/studies")) {
    INFO(entry.path());
    ++files;
    for (const RunConfig& config : ReadRunConfigs(entry.path().string(), {}))
      CHECK(config.study == entry.path().stem().string());
  }
  CHECK(files >= 4);
}

}  // namespace
}  // namespace quantref
