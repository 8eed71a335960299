#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"

// run_eval end to end: LLM.int8().

namespace quantref {
namespace {

using testing::CheckDone;
using testing::Contains;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using testing::Together;
using Strings = std::vector<std::string>;

constexpr char kRows[] = "quantize.weights={bits: 8, group: row, symmetric: true}";
constexpr char kBothVariants[] =
    "quantize.methods=[{method: rtn, label: paper}, {method: rtn, label: bnb, activations: "
    "{outlier_weights: int8}}, {method: rtn, label: w8a8, activations: {outlier_threshold: none}}]";
constexpr char kActivations[] = "quantize.activations={outlier_threshold: 2}";

ProcessResult RunMixed(const RunEvalLab& lab, const Strings& more = {}) {
  return lab.Run(Together(
      {lab.config(), "--set", kRows, "--set", kActivations, "--set", kBothVariants}, more));
}

TEST_CASE("run_eval: outlier channels are multiplied apart, counted and recorded") {
  const RunEvalLab lab;
  const ProcessResult result = RunMixed(lab, {"--layers", "--columns", "bits,outliers"});
  CheckDone(result);
  CHECK(Contains(result.out, "outlier channels (%)"));
  CHECK(Contains(result.out, ", most "));
  const RecordJson paper = lab.Record("paper"), bnb = lab.Record("bnb"), plain = lab.Record("w8a8");
  CHECK(paper["activations"] == "a8 token fp16>=2");
  CHECK(bnb["activations"] == "a8 token int8>=2");
  CHECK_FALSE(plain.contains("outlier_channels"));
  for (const RecordJson& record : {paper, bnb}) {
    CHECK(record["path"] == "kernel");
    CHECK(record["simulated_vs_kernel"]["linear_error"].get<double>() < 1e-5);
    const double mean = record["outlier_channels"]["share"];
    const double most = record["outlier_channels"]["share_max"];
    CHECK(mean > 0);
    CHECK(most >= mean);
    CHECK(most <= 1);
    double sum = 0, largest = 0;
    for (const RecordJson& layer : record["layers"]) {
      sum += layer["outlier_share"].get<double>();
      largest = std::max(largest, layer["outlier_share_max"].get<double>());
    }
    CHECK(mean == Approx(sum / static_cast<double>(record["layers"].size())));
    CHECK(most == largest);
  }
  CHECK(paper["effective_bits"].get<double>() ==
        Approx(plain["effective_bits"].get<double>() + 16));
  CHECK(bnb["effective_bits"] == plain["effective_bits"]);
  CHECK(paper["hashes"]["packed_weights"] != bnb["hashes"]["packed_weights"]);
  // The same codes; what differs is what the outliers meet.
  CHECK(paper["layers"][0]["packed_sha256"] == bnb["layers"][0]["packed_sha256"]);
  CHECK(paper["accuracy"]["kl_mean"].get<double>() < plain["accuracy"]["kl_mean"].get<double>());
  const RunEvalLab threads;
  CheckDone(RunMixed(threads, {"--threads", "3"}));
  for (const char* method : {"paper", "bnb"}) {
    CHECK(threads.Record(method)["accuracy"]["window_nll"] ==
          lab.Record(method)["accuracy"]["window_nll"]);
    CHECK(threads.Record(method)["outlier_channels"] == lab.Record(method)["outlier_channels"]);
  }
}

TEST_CASE("run_eval: products with outliers are timed, of models with random weights, too") {
  const RunEvalLab lab;
  CheckDone(RunMixed(lab, {"--windows", "2", "--set", testing::kQuickThroughput}));
  const RecordJson record = lab.Record("paper");
  CHECK(record["throughput"]["decode_tokens_s"].size() == 1);
  REQUIRE_FALSE(record["throughput"]["kernels"].empty());
  for (const RecordJson& kernel : record["throughput"]["kernels"])
    CHECK(kernel["op"] == "w8a8 row sym fp16>=2");
  testing::WriteFile(
      lab / "synthetic.yaml",
      "name: synthetic\nmodel: {synthetic: tiny}\nquantize: {weights: {bits: 8, group: row, "
      "symmetric: true}, activations: {outlier_threshold: 6}, methods: [rtn]}\n" +
          std::string(testing::kQuickThroughput).replace(10, 1, ": ") + "\n");
  CheckDone(lab.Run({"synthetic.yaml", "--out", "random"}));
}

TEST_CASE("run_eval: activations that no integer kernel takes are said to be simulated") {
  const RunEvalLab lab;
  CheckDone(lab.Run({lab.config(), "--set", "quantize.activations={bits: 4}", "--set",
                     "quantize.methods=[{method: rtn, label: token}, {method: rtn, label: groups, "
                     "activations: {group: 16}}, {method: rtn, label: mx, activations: {format: "
                     "mxfp4}}, {method: rtn, label: nv, activations: {format: nvfp4}}, {method: "
                     "rtn, label: fp8, activations: {format: fp8_e4m3}}, {method: rtn, label: nf4, "
                     "weights: {format: nf4}}]"}));
  CHECK(lab.Record("nf4")["activations_path"] == "simulated");  // by a codebook, in FP32
  CHECK(lab.Record("token")["activations_path"] == "kernel");
  CHECK(lab.Record("token")["activations"] == "a4 token");
  for (const auto& [label, name] :
       {std::pair("groups", "a4 g16"), std::pair("mx", "a-mxfp4 g32"),
        std::pair("nv", "a-nvfp4 g16"), std::pair("fp8", "a-fp8_e4m3 token")}) {
    const RecordJson record = lab.Record(label);
    CHECK(record["activations"] == name);
    CHECK(record["activations_path"] == "simulated");
    CHECK(record["path"] == "kernel");  // of the weights
    CHECK(record["simulated_vs_kernel"]["linear_error"].get<double>() < 1e-5);
  }
  const auto kl = [&](const char* label) {
    return lab.Record(label)["accuracy"]["kl_mean"].get<double>();
  };
  CHECK(kl("fp8") < kl("mx"));
  CHECK(kl("groups") < kl("token"));
}

TEST_CASE("run_eval: a codebook beside outliers has no kernel, and no speed of one") {
  const RunEvalLab lab;
  CheckDone(RunMixed(lab, {"--windows", "2", "--set", testing::kQuickThroughput, "--set",
                           "quantize.weights={format: nf4, group: 16}"}));
  for (const char* method : {"paper", "bnb"}) {
    const RecordJson record = lab.Record(method);
    CHECK(record["path"] == "simulated");
    CHECK(record["activations_path"] == "simulated");
    CHECK(record["simulated_linears"].size() == 14);
    CHECK(record["throughput"]["decoded_each_call"].size() == 14);
    CHECK_FALSE(record["throughput"].contains("kernels"));
    CHECK(record["outlier_channels"]["share"].get<double>() > 0);
  }
  CHECK(lab.Record("w8a8")["path"] == "kernel");
  testing::WriteFile(
      lab / "synthetic.yaml",
      "name: synthetic\nmodel: {synthetic: tiny}\nquantize: {weights: {format: nf4}, "
      "activations: {outlier_threshold: 6}, methods: [rtn]}\n");
  const ProcessResult synthetic = lab.Run({"synthetic.yaml"});
  CHECK(synthetic.exit_code == 2);
  CHECK(Contains(synthetic.err, "no kernel takes nf4 g64 beside outlier channels"));
}

TEST_CASE("run_eval: a quantized head beside outliers is refused, with what to do") {
  const RunEvalLab lab;
  const ProcessResult result = RunMixed(lab, {"--set", "quantize.keep=[]"});
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "quantize.activations.outlier_threshold"));
  CHECK(Contains(result.err, "as LLM.int8() does"));
}

}  // namespace
}  // namespace quantref
