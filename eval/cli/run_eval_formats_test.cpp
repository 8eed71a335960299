#include <catch2/catch.hpp>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"

// Whole runs in formats other than `int`.

namespace quantref {
namespace {

using testing::RecordJson;
using testing::RunEvalLab;

struct FormatCell {
  std::string label, weights, name;  // name: of the scheme
  double bits;                       // stored per weight of the tiny model
};

TEST_CASE("run_eval: cells in several formats, each in its record", "[formats]") {
  const std::vector<FormatCell> cells = {
      {"nf4", "{format: nf4, group: 16}", "nf4 g16", 6},
      {"nf4-dq", "{format: nf4, group: 16, double_quant: true}", "nf4 g16 dq", 4.53},
      {"fp4", "{format: fp4, group: 16}", "fp4 g16", 6},
      {"mxfp4", "{format: mxfp4}", "mxfp4 g32", 4.3},
      {"nvfp4", "{format: nvfp4}", "nvfp4 g16", 4.51},
      {"fp8", "{format: fp8_e4m3, group: 16}", "fp8_e4m3 g16", 10},
      {"float_zero", "{format: float_zero, bits: 3, group: 16}", "float_zero3 g16", 5},
      {"ternary", "{format: ternary, group: 16}", "ternary g16", 3},
  };
  const RunEvalLab lab;
  std::string methods;
  for (const FormatCell& cell : cells) {
    methods += (methods.empty() ? "" : ", ") + std::string("{method: rtn, label: ") + cell.label +
               ", weights: " + cell.weights + "}";
  }
  std::ofstream(lab / "formats.yaml") << "name: formats\nmodel: ./model\nquantize: {methods: ["
                                      << methods << "]}\naccuracy: {dataset: ./text.txt}\n"
                                      << "throughput: none\n";
  testing::CheckDone(lab.Run({"formats.yaml"}));
  std::set<std::string> packed;
  for (const FormatCell& cell : cells) {
    INFO(cell.label);
    const RecordJson record = lab.Record(cell.label);
    CHECK(record["scheme"]["name"] == cell.name);
    CHECK(cell.weights.find("format: " + record["scheme"]["format"].get<std::string>()) !=
          std::string::npos);
    CHECK(record["scheme"].contains("double_quant") == (cell.label == "nf4-dq"));
    CHECK(record["effective_bits"].get<double>() == Approx(cell.bits).margin(0.07));
    CHECK(record["layers"].size() == 14);
    for (const RecordJson& layer : record["layers"]) CHECK(layer["scheme"] == cell.name);
    packed.insert(record["hashes"]["packed_weights"].get<std::string>());
  }
  CHECK(packed.size() == cells.size());
}

}  // namespace
}  // namespace quantref
