// The anatomy of weights: run_eval --weights.

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CheckDone;
using testing::Contains;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using testing::Together;
using Strings = std::vector<std::string>;

// Of the run whose files stand in the folder of records: the only name that ends so.
std::string TheFile(const RunEvalLab& lab, const std::string& end) {
  Strings found;
  for (const std::string& name : lab.RecordFiles())
    if (name.ends_with(end)) found.push_back(name);
  REQUIRE(found.size() == 1);
  return found.front();
}

RecordJson AnatomyIn(const RunEvalLab& lab) {
  return RecordJson::parse(testing::FileText(lab.records() / TheFile(lab, ".weights.json")));
}

// The sum of a matrix's squares.
double Squares(const RecordJson& matrix) {
  const double count = matrix["rows"].get<double>() * matrix["cols"].get<double>();
  const double mean = matrix["mean"], deviation = matrix["deviation"];
  return (count - 1) * deviation * deviation + count * mean * mean;
}

TEST_CASE("run_eval: --weights tells the errors that records have, and stands beside these") {
  const RunEvalLab lab;
  CheckDone(lab.Run({lab.config()}));
  // Whatever text the config names: none is read.
  const ProcessResult result =
      lab.Run({lab.config(), "--weights", "--set", "accuracy.dataset=./nowhere.txt"});
  CheckDone(result);
  for (const char* part : {"16 matrices", "layers.1.mlp.down_proj", "rtn error (%)", "int4 g16",
                           "kurtosis", "within kinds"}) {
    INFO(part);
    CHECK(Contains(result.out, part));
  }
  CHECK(Contains(result.err, ".weights.csv"));
  CHECK(lab.RecordFiles().size() == 4);
  const RecordJson layers = lab.Record("rtn")["layers"], anatomy = AnatomyIn(lab);
  size_t compared = 0;
  for (const RecordJson& matrix : anatomy["matrices"]) {
    for (const RecordJson& layer : layers) {
      if (layer["name"] != matrix["name"]) continue;
      ++compared;
      const double error = matrix["rounded"]["rtn"]["error"];
      const double count = matrix["rows"].get<double>() * matrix["cols"].get<double>();
      CHECK(error * error * Squares(matrix) ==
            Approx(layer["weight_mse"].get<double>() * count).epsilon(1e-9));
    }
  }
  CHECK(compared == 14);
  // Readers of records pass it over.
  CheckDone(testing::RunProcess({testing::Program("make_tables"), lab.records().string()}));
  CheckDone(testing::RunProcess(
      {testing::Program("compare_results"), lab.records().string(), lab.records().string()}));
}

TEST_CASE("run_eval: --weights writes the same bytes on any number of threads, and again") {
  const RunEvalLab lab;
  CheckDone(lab.Run({lab.config(), "--weights", "--threads", "1", "--quiet"}));
  const Strings names = lab.RecordFiles();
  REQUIRE(names.size() == 2);
  const ProcessResult again = lab.Run({lab.config(), "--weights", "--threads", "3", "--json"});
  CheckDone(again);
  CHECK(lab.RecordFiles() == names);
  CHECK(RecordJson::parse(again.out) == RecordJson{AnatomyIn(lab)});
}

TEST_CASE("run_eval: --weights takes the cells that round to nearest alone, each once") {
  const RunEvalLab lab;
  CheckDone(lab.Run({lab.config(), "--weights", "--set",
                     "quantize.methods=[gptq, rtn, {method: rtn, label: a8, activations: {bits: "
                     "8}}, {method: rtn, label: row, weights: {group: row}}, smoothquant+rtn]"}));
  const RecordJson cells = AnatomyIn(lab)["cells"];
  REQUIRE(cells.size() == 2);
  CHECK(cells[0]["name"] == "rtn");
  CHECK(cells[0]["alike"] == RecordJson{"a8"});
  CHECK(cells[1]["name"] == "row");
  CHECK(cells[1]["schemes"] == "int4 row asym");
  const ProcessResult none = lab.Run({lab.config(), "--weights", "--methods", "fp32"});
  CheckDone(none);
  CHECK(Contains(none.out, "no cell rounds to nearest alone"));
}

TEST_CASE("run_eval: --weights --dry-run says what it takes and leaves nothing behind") {
  const RunEvalLab lab;
  const ProcessResult result = lab.Run({lab.config(), "--weights", "--dry-run"});
  CheckDone(result);
  for (const char* part : {"16 matrices", "14 of 16", "int4 g16", "expected: about", "memory"}) {
    INFO(part);
    CHECK(Contains(result.out, part));
  }
  CHECK_FALSE(fs::exists(lab / "results"));
}

TEST_CASE("run_eval: --weights refuses what it cannot do, in one message") {
  const RunEvalLab lab;
  const auto refused = [&](const Strings& more, const std::string& part) {
    const ProcessResult result = lab.Run(Together({lab.config(), "--weights"}, more));
    INFO(result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, part));
  };
  refused({"--windows", "2"}, "--windows");
  refused({"--resume"}, "--resume");
  refused({"--memory", "0.000001"}, "the largest matrix takes");
  testing::WriteFile(lab / "synthetic.yaml",
                     "name: synthetic\nmodel: {synthetic: tiny}\nquantize: {methods: [rtn]}\n");
  const ProcessResult random = lab.Run({"synthetic.yaml", "--weights"});
  CHECK(random.exit_code == 2);
  CHECK(Contains(random.err, "expected a model of weights, found a synthetic one"));
}

}  // namespace
}  // namespace quantref
