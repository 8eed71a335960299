#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/io/file.h"

// Whole runs of methods that calibrate.

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using testing::WriteFile;
using Strings = std::vector<std::string>;

// Another text than the one that is measured on.
void WriteCalibrationText(const RunEvalLab& lab) {
  const std::string sample =
      ReadFile(testing::SourceDir() / "eval/sample/sample.validation.raw", size_t{1} << 20);
  WriteFile(lab / "calibration.txt", sample.substr(0, 6000));
}

std::string Config(const std::string& quantize, const std::string& calibration = "samples: 5") {
  return "name: methods\nmodel: ./model\nquantize: {" + quantize +
         "}\ncalibration: {dataset: ./calibration.txt, " + calibration +
         "}\naccuracy: {dataset: ./text.txt}\nthroughput: none\n";
}

constexpr char kInt3[] = "weights: {bits: 3, group: 16}";

ProcessResult MeasureConfig(const RunEvalLab& lab, const std::string& config,
                            const Strings& arguments = {}) {
  WriteCalibrationText(lab);
  WriteFile(lab / "methods.yaml", config);
  Strings all = {"methods.yaml"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return lab.Run(all);
}

TEST_CASE("run_eval: methods that calibrate, alone and composed", "[methods]") {
  const RunEvalLab lab;
  const ProcessResult result = MeasureConfig(
      lab, Config(std::string("methods: [rtn, gptq, awq, awq+gptq, smoothquant+gptq], ") + kInt3));
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(result.out.find("calibrated on calibration.txt") != std::string::npos);
  CHECK(result.out.find("5 x 64 tokens") != std::string::npos);
  std::set<std::string> packed;
  for (const char* method : {"rtn", "gptq", "awq", "awq+gptq", "smoothquant+gptq"}) {
    INFO(method);
    const RecordJson record = lab.Record(method);
    packed.insert(record["hashes"]["packed_weights"].get<std::string>());
    const RecordJson& calibration = record["calibration"];
    CHECK(calibration["used_by"] == (std::string(method) == "rtn" ? "layer report" : "method"));
    CHECK(calibration["samples"] == 5);
    CHECK(calibration["length"] == 64);  // the model's context
    CHECK(calibration["report_tokens"] == 5 * 64);
    const RecordJson& seconds = record["seconds"];
    CHECK(seconds["quantize_shared"].get<double>() > 0);  // the first block's pass, if nothing else
    CHECK(seconds["quantize_shared"].get<double>() < seconds["quantize"].get<double>());
    CHECK(calibration["overlap_with_test"].get<double>() < 0.01);
    CHECK(record["layers"].size() == 14);
    for (const RecordJson& layer : record["layers"]) {
      CHECK(layer["output_error"].get<double>() > 0);
      CHECK(layer["output_error"].get<double>() < 1);
    }
  }
  CHECK(packed.size() == 5);
  CHECK_FALSE(lab.Record("fp16").contains("calibration"));
  // Error compensation shows where it should: in the outputs of the first block, whose inputs are
  // the same for both.
  double rtn = 0, gptq = 0;
  for (size_t i = 0; i < 7; ++i) {
    rtn += lab.Record("rtn")["layers"][i]["output_error"].get<double>();
    gptq += lab.Record("gptq")["layers"][i]["output_error"].get<double>();
  }
  CHECK(gptq < rtn);
}

TEST_CASE("run_eval: calibrated results do not depend on threads and neighbours", "[methods]") {
  const RunEvalLab lab;
  const std::string quantize = std::string("methods: [awq+gptq], ") + kInt3;
  REQUIRE(MeasureConfig(lab, Config(quantize), {"--threads", "1", "--out", "one"}).exit_code == 0);
  REQUIRE(MeasureConfig(lab, Config(std::string("methods: [gptq, awq+gptq], ") + kInt3),
                        {"--threads", "4", "--out", "four"})
              .exit_code == 0);
  const auto hashes = [&](const std::string& folder) {
    for (const auto& entry : fs::directory_iterator(lab / folder)) {
      const RecordJson record = RecordJson::parse(ReadFile(entry.path(), size_t{1} << 24));
      if (record["method"] == "awq+gptq") return record["hashes"];
    }
    return RecordJson();
  };
  CHECK(hashes("one").is_object());
  CHECK(hashes("one") == hashes("four"));
}

TEST_CASE("run_eval: activations are rounded, by token or by a static scale", "[methods]") {
  const RunEvalLab lab;
  const ProcessResult result = MeasureConfig(
      lab, Config("methods: [rtn, {method: rtn, label: coarse, activations: {bits: 3}}, "
                  "{method: smoothquant+rtn, label: static, "
                  "activations: {granularity: tensor, dynamic: false}}, "
                  "{method: rtn, label: exact, activations: none}], "
                  "weights: {bits: 8, group: row, symmetric: true}, activations: {bits: 8}"));
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(lab.Record("rtn")["activations"] == "a8 token");
  CHECK(lab.Record("coarse")["activations"] == "a3 token");
  CHECK(lab.Record("static")["activations"] == "a8 tensor static");
  CHECK(lab.Record("exact")["activations"] == "none");
  const auto kl = [&](const char* label) {
    return lab.Record(label)["accuracy"]["kl_mean"].get<double>();
  };
  CHECK(kl("exact") < kl("rtn"));
  CHECK(kl("rtn") < kl("coarse"));
  CHECK(kl("static") < kl("coarse"));
}

TEST_CASE("run_eval: a rounded cache, alone and beside weights", "[methods]") {
  const RunEvalLab lab;
  const ProcessResult result = MeasureConfig(
      lab, Config("methods: [{method: rtn, label: kv8, kv_cache: {bits: 8}}, "
                  "{method: rtn, label: kv2, kv_cache: {bits: 2}}, "
                  "{method: rtn, label: all, weights: {bits: 8, group: row}}, "
                  "{method: rtn, label: none, kv_cache: none, weights: {bits: 8, group: row}}], "
                  "weights: none, kv_cache: {bits: 4, group: 16}"));
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  const auto kl = [&](const char* label) {
    return lab.Record(label)["accuracy"]["kl_mean"].get<double>();
  };
  CHECK(kl("kv8") > 0);
  CHECK(kl("kv8") < kl("kv2"));
  CHECK(kl("none") < kl("all"));
  const RecordJson record = lab.Record("kv2");
  CHECK_FALSE(record.contains("scheme"));
  CHECK_FALSE(record.contains("path"));
  CHECK(record["effective_bits"] == lab.Record("fp16")["effective_bits"]);
  CHECK(record["kv_cache"]["name"] == "kv2 channel/token g16");
  CHECK(record["kv_cache"]["key_bits"] == 4.0);  // 2, and 32 of a scale and a minimum by 16
  CHECK(record["kv_cache"]["bytes"] < record["kv_cache"]["fp16_bytes"]);
  CHECK_FALSE(lab.Record("none").contains("kv_cache"));
  // The weights are those of the cell without a cache, and the gate has no bound for logits.
  CHECK(lab.Record("all")["hashes"]["packed_weights"] ==
        lab.Record("none")["hashes"]["packed_weights"]);
  CHECK_FALSE(lab.Record("all")["simulated_vs_kernel"].contains("kl_mean_limit"));
  CHECK(lab.Record("none")["simulated_vs_kernel"].contains("kl_mean_limit"));
  CHECK(result.out.find("int8 row asym, kv4 channel/token g16") != std::string::npos);
  CHECK(result.out.find("kv2: its cache of ") != std::string::npos);
}

TEST_CASE("run_eval: a cache that no window would see rounded is refused", "[methods]") {
  const RunEvalLab lab;
  for (const char* cache :
       {"{keys: token, residual: 4096}", "{group: 4096}", "{group: 16, residual: 4096}"}) {
    const ProcessResult result = MeasureConfig(
        lab, Config(std::string("methods: [rtn], weights: none, kv_cache: ") + cache));
    INFO(cache << ": " << result.err);
    CHECK(result.exit_code == 2);
    CHECK(result.err.find("keys wait unrounded for 4,096 tokens") != std::string::npos);
  }
}

TEST_CASE("run_eval: outliers break W8A8, SmoothQuant mends it", "[methods]") {
  const RunEvalLab lab;
  std::string config = Config(
      "methods: [rtn, smoothquant+rtn, {method: rtn, label: weights-only, activations: none}], "
      "weights: {bits: 8, group: row, symmetric: true}, activations: {bits: 8}");
  config.replace(config.find("./model"), 7,
                 "{name: ./model, outliers: {channels: 0.05, scale: 100}}");
  const ProcessResult result = MeasureConfig(lab, config);
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(result.out.find("with outliers x100 in 5.0 % of channels") != std::string::npos);
  CHECK(lab.Record("fp16")["model"]["outliers"]["scale"] == 100);
  const auto kl = [&](const char* label) {
    return lab.Record(label)["accuracy"]["kl_mean"].get<double>();
  };
  CHECK(kl("rtn") > 5 * kl("smoothquant+rtn"));
  // The function of the reference is that of the model without outliers.
  REQUIRE(lab.Run({"tiny.yaml", "--methods", "fp16", "--out", "plain"}).exit_code == 0);
  for (const auto& entry : fs::directory_iterator(lab / "plain")) {
    const RecordJson plain = RecordJson::parse(ReadFile(entry.path(), size_t{1} << 24));
    CHECK(plain["accuracy"]["mean_nll"].get<double>() ==
          Approx(lab.Record("fp16")["accuracy"]["mean_nll"].get<double>()).epsilon(1e-4));
  }
}

TEST_CASE("run_eval: several seeds are several cells, with their spread", "[methods]") {
  const RunEvalLab lab;
  const ProcessResult result = MeasureConfig(
      lab, Config(std::string("methods: [rtn, gptq], ") + kInt3, "samples: 3, seeds: [0, 5, 2]"));
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(result.out.find("gptq seed=5") != std::string::npos);
  CHECK(result.out.find("over 3 calibration seeds") != std::string::npos);
  size_t records = 0;
  std::set<std::string> tokens;
  for (const std::string& name : lab.RecordFiles()) {
    const RecordJson record = RecordJson::parse(ReadFile(lab.records() / name, size_t{1} << 24));
    if (record["method"] != "gptq") continue;
    ++records;
    const RecordJson& calibration = record["calibration"];
    tokens.insert(calibration["token_sha256"].get<std::string>());
    const std::vector<double> ppl = calibration["seeds"]["ppl"];
    REQUIRE(ppl.size() == 3);
    const double mean = (ppl[0] + ppl[1] + ppl[2]) / 3;
    double squares = 0;
    for (const double p : ppl) squares += (p - mean) * (p - mean);
    CHECK(calibration["seeds"]["ppl_mean"].get<double>() == Approx(mean));
    CHECK(calibration["seeds"]["ppl_sd"].get<double>() == Approx(std::sqrt(squares / 2)));
    CHECK(calibration["seeds"]["seeds"] == RecordJson::array({0, 2, 5}));
  }
  CHECK(records == 3);
  CHECK(tokens.size() == 3);
  CHECK_FALSE(lab.Record("rtn")["calibration"].contains("seeds"));
}

TEST_CASE("run_eval: calibrating on the test text is refused, or stamped", "[methods]") {
  const RunEvalLab lab;
  std::string config = Config(std::string("methods: [gptq], ") + kInt3);
  config.replace(config.find("./calibration.txt"), 17, "./text.txt");
  const ProcessResult refused = MeasureConfig(lab, config);
  CHECK(refused.exit_code == 2);
  CHECK(refused.err.find("the calibration text is the text that is measured") != std::string::npos);
  CHECK(refused.err.find("calibration.allow_overlap") != std::string::npos);
  CHECK(lab.RecordFiles().empty());
  const ProcessResult allowed =
      MeasureConfig(lab, config, {"--set", "calibration.allow_overlap=true"});
  CHECK(allowed.exit_code == 0);
  CHECK(allowed.out.find("CONTAMINATED: ") != std::string::npos);
  CHECK(lab.Record("gptq")["calibration"]["contaminated"] == true);
  CHECK(lab.Record("gptq")["calibration"]["overlap_with_test"].get<double>() > 0.01);
}

TEST_CASE("run_eval: the layer report in the terminal, mixed methods in the record", "[methods]") {
  const RunEvalLab lab;
  const ProcessResult result = MeasureConfig(
      lab,
      Config("methods: [gptq], weights: {bits: 4, group: 16}, overrides: "
             "[{match: \"*.q_proj\", method: rtn, bits: 8}, {match: \"*.v_proj\", keep: true}]"),
      {"--layers"});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  for (const char* part : {"layers.1.mlp.down_proj", "weight MSE", "output error", "clipped",
                           "gptq int4 g16 asym", "rtn int8 g16 asym", "int4 g16 asym mixed"}) {
    INFO(part);
    CHECK(result.out.find(part) != std::string::npos);
  }
  CHECK(result.out.find("layers.0.self_attn.v_proj") == std::string::npos);
  for (const RecordJson& layer : lab.Record("gptq")["layers"]) {
    const bool is_q = layer["name"].get<std::string>().ends_with("q_proj");
    CHECK(layer["method"] == (is_q ? "rtn" : "gptq"));
  }
}

TEST_CASE("run_eval: a matrix is recorded as the method's whose codes it has", "[methods]") {
  const RunEvalLab lab;
  const ProcessResult result = MeasureConfig(
      lab, Config("methods: [rtn, gptq], keep: [lm_head], weights: {bits: 4, group: 16}"));
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  const RecordJson rtn = lab.Record("rtn")["layers"][0], gptq = lab.Record("gptq")["layers"][0];
  CHECK(gptq["name"] == "embed_tokens");
  CHECK(gptq["packed_sha256"] == rtn["packed_sha256"]);
  CHECK(gptq["method"] == "rtn");
  CHECK(gptq["asked"] == "gptq");
  CHECK(lab.Record("gptq")["layers"][1]["method"] == "gptq");
  CHECK_FALSE(lab.Record("gptq")["layers"][1].contains("asked"));
  CHECK(result.out.find("gptq: embed_tokens has the codes of rtn, not of gptq") !=
        std::string::npos);
}

TEST_CASE("run_eval: a method that quantizes nothing is the reference, not a cell", "[methods]") {
  const RunEvalLab lab;
  const std::string config = Config("methods: [gptq], keep: [\"*\"], " + std::string(kInt3));
  const ProcessResult result = MeasureConfig(lab, config);
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(result.err.find("gptq of methods quantizes no matrix") != std::string::npos);
  CHECK(result.out.find("\ngptq ") == std::string::npos);
  CHECK(lab.RecordFiles().size() == 1);
  CHECK_FALSE(lab.Record("fp16").contains("scheme"));
}

// 32 inputs in groups of 20 are 20 and 12, 48 are 20, 20 and 8; a group may be longer than a row.
TEST_CASE("run_eval: groups need not divide a model's inputs", "[methods]") {
  const RunEvalLab lab;
  const std::string config = Config(
      "methods: [rtn, gptq, awq+gptq], weights: {bits: 3, group: 20}, overrides: "
      "[{match: \"*.v_proj\", group: 4096}]");
  const ProcessResult plan = MeasureConfig(lab, config, {"--dry-run"});
  INFO(plan.err);
  CHECK(plan.exit_code == 0);
  const ProcessResult result = MeasureConfig(lab, config);
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  for (const char* method : {"rtn", "gptq", "awq+gptq"}) {
    const RecordJson record = lab.Record(method);
    CHECK(record["scheme"]["name"] == "int3 g20 asym mixed");
    CHECK(record["scheme"]["bits"] == 3);
    CHECK_FALSE(record["scheme"].contains("group"));
    for (const RecordJson& layer : record["layers"]) {
      const auto name = layer["name"].get<std::string>();
      const bool wide = name.ends_with("down_proj"), one = name.ends_with("v_proj");
      const double cols = wide ? 48 : 32, groups = one ? 1 : wide ? 3 : 2;
      INFO(method << " " << name);
      CHECK(layer["bits"].get<double>() == 3 + groups * (16 + 3) / cols);
    }
  }
}

TEST_CASE("run_eval: too short a calibration text, and one that is not there", "[methods]") {
  const RunEvalLab lab;
  WriteFile(lab / "short.txt", "a few words\n");
  std::string config = Config("methods: [gptq]");
  config.replace(config.find("./calibration.txt"), 17, "./short.txt");
  const ProcessResult too_short =
      MeasureConfig(lab, config, {"--set", "quantize.weights.group=16"});
  CHECK(too_short.exit_code == 2);
  CHECK(too_short.err.find("at least one sample of 64 tokens") != std::string::npos);
  config.replace(config.find("./short.txt"), 11, "./none.txt");
  const ProcessResult none = MeasureConfig(lab, config, {"--set", "quantize.weights.group=16"});
  CHECK(none.exit_code == 2);
  CHECK(none.err.find("none.txt") != std::string::npos);
}

}  // namespace
}  // namespace quantref
