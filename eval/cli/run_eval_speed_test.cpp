// run_eval end to end: the kernels' path, its gate, throughput, and synthetic models.

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/record/reader.h"
#include "eval/testing/run_eval_lab.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

using testing::CheckDone;
using testing::Contains;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using testing::WriteFile;
using Strings = std::vector<std::string>;

TEST_CASE("run_eval: accuracy goes through the kernels unless it is asked to be simulated") {
  const RunEvalLab kernel, simulated;
  CheckDone(kernel.Run({kernel.config()}));
  CheckDone(simulated.Run({simulated.config(), "--set", "accuracy.path=simulated"}));
  const RecordJson a = kernel.Record("rtn"), b = simulated.Record("rtn");
  CHECK(a["path"] == "kernel");
  CHECK(a["simulated_vs_kernel"]["kl_mean"].get<double>() < 1e-9);
  CHECK(a["simulated_vs_kernel"]["linear_error"].get<double>() < 1e-5);
  CHECK(a["simulated_vs_kernel"]["positions"] == 64);
  CHECK_FALSE(a["simulated_vs_kernel"].contains("failed"));
  CHECK_FALSE(a.contains("simulated_linears"));
  CHECK_FALSE(a.contains("throughput"));
  CHECK(b["path"] == "simulated");
  CHECK_FALSE(b.contains("simulated_vs_kernel"));
  CHECK(a["hashes"]["packed_weights"] == b["hashes"]["packed_weights"]);
  CHECK(a["hashes"]["first_window_logits"] != b["hashes"]["first_window_logits"]);
  CHECK(a["accuracy"]["mean_nll"].get<double>() ==
        Approx(b["accuracy"]["mean_nll"].get<double>()).epsilon(1e-6));
}

TEST_CASE("run_eval: what the kernels cannot hold is simulated, and the record says so") {
  const RunEvalLab lab;
  CheckDone(lab.Run(
      {lab.config(), "--set", "quantize.overrides=[{match: '*.q_proj', granularity: column}]"}));
  CHECK(lab.Record("rtn")["path"] == "kernel");
  CHECK(lab.Record("rtn")["simulated_linears"] ==
        RecordJson{"layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj"});
  const RunEvalLab all;
  CheckDone(all.Run({all.config(), "--set", "quantize.weights={granularity: column}"}));
  CHECK(all.Record("rtn")["path"] == "simulated");
  CHECK(all.Record("rtn")["simulated_linears"].size() == 14);
}

TEST_CASE("run_eval: configs of other paths share a measurement") {
  const RunEvalLab lab;
  WriteFile(lab / "other.yaml",
            "name: other\nmodel: ./model\nquantize: {methods: [rtn], weights: {group: 16}}\n"
            "accuracy: {dataset: ./text.txt, path: simulated}\nthroughput: none\n");
  const ProcessResult result = lab.Run({lab.config(), "other.yaml", "--json"});
  CheckDone(result);
  const RecordJson records = RecordJson::parse(result.out);
  REQUIRE(records.size() == 4);
  CHECK(records[1]["path"] == "kernel");
  CHECK(records[3]["path"] == "simulated");
  CHECK(records[0]["accuracy"]["window_nll"] == records[2]["accuracy"]["window_nll"]);
  CHECK(records[1]["accuracy"]["against"][0]["config"] == "other");
}

TEST_CASE("run_eval: beyond the bound of the gap the run fails, with its records") {
  for (const std::string key : {"accuracy.max_path_gap", "accuracy.max_linear_gap"}) {
    INFO(key);
    const RunEvalLab lab;
    const ProcessResult result = lab.Run({lab.config(), "--set", key + "=1e-30"});
    INFO(result.err);
    CHECK(result.exit_code == 1);
    CHECK(Contains(result.err, "GATE FAILED: tiny rtn: the kernels do not give"));
    CHECK(Contains(result.err, "expected at most 1e-30 (" + key + "), found "));
    CHECK(lab.RecordFiles().size() == 2);  // and no journal
    CHECK(lab.Record("rtn")["simulated_vs_kernel"]["failed"] == true);
  }
  const RunEvalLab rounded;  // whose logits have no bound
  CheckDone(rounded.Run({rounded.config(), "--set", "quantize.activations={bits: 8}", "--set",
                         "accuracy.max_path_gap=1e-30"}));
  CHECK_FALSE(rounded.Record("rtn")["simulated_vs_kernel"].contains("kl_mean_limit"));
}

TEST_CASE("run_eval: throughput stands in table and record") {
  const RunEvalLab lab;
  const ProcessResult result =
      lab.Run({lab.config(), "--set", testing::kQuickThroughput, "--windows", "2"});
  CheckDone(result);
  for (const char* part : {"prefill tok/s", "decode tok/s", "speed: ", "cores free before",
                           "prefill of 16, decode of 4", "1 thread", "fp32",
                           "x: times FP16 weights of the same shapes (prefill "}) {
    INFO(part);
    CHECK(Contains(result.out, part));
  }
  for (const char* method : {"fp16", "rtn"}) {
    const RecordJson record = lab.Record(method);
    const RecordJson& speed = record["throughput"];
    for (const char* kind : {"prefill_tokens_s", "decode_tokens_s"}) {
      REQUIRE(speed[kind].size() == 1);
      CHECK(speed[kind][0]["samples"].size() == 2);
      CHECK(speed[kind][0]["vs_fp16"].get<double>() > 0);  // the tiny model's own are F32
      CHECK(speed[kind][0]["fp16_samples"].size() == 2);
    }
    CHECK(speed["fp16_copy"] == true);
    CHECK_FALSE(speed.contains("decoded_each_call"));
    CHECK(speed["roofline"].size() == 1);
    CHECK(speed["free_cores"]["before"].get<double>() > 0);
    CHECK(record["seconds"]["throughput"].get<double>() > 0);
    if (std::string(method) == "fp16") {
      for (const RecordJson& kernel : speed["kernels"]) {
        CHECK(kernel["op"] == "fp32");
        CHECK(kernel["vs_fp16"].get<double>() > 0);
        CHECK(kernel["bytes"] == 4 * kernel["rows"].get<size_t>() * kernel["cols"].get<size_t>());
      }
      continue;
    }
    for (const RecordJson& kernel : speed["kernels"]) {
      CHECK(kernel["isa"] == record["environment"]["isa"]);
      CHECK(kernel["op"].get<std::string>().starts_with("w4a16"));
    }
  }
}

TEST_CASE("run_eval: where weights are rounded to FP16, FP16 is what is timed and compared with") {
  const RunEvalLab lab;
  const ProcessResult result =
      lab.Run({lab.config(), "--set", "model={name: ./model, dtype: fp16}", "--set",
               "throughput={kernels: false, prefill: 0, decode: 2, repetitions: 2}", "--set",
               "quantize.overrides=[{match: '*.q_proj', granularity: column}]", "--windows", "1"});
  CheckDone(result);
  const RecordJson fp16 = lab.Record("fp16"), rtn = lab.Record("rtn");
  CHECK(fp16["method"] == "fp16");
  CHECK(fp16["effective_bits"] == 16);
  CHECK_FALSE(fp16["throughput"]["decode_tokens_s"][0].contains("vs_fp16"));
  CHECK_FALSE(rtn["throughput"].contains("fp16_copy"));
  CHECK(rtn["throughput"]["decode_tokens_s"][0]["fp16_samples"] ==
        fp16["throughput"]["decode_tokens_s"][0]["samples"]);
  CHECK(rtn["throughput"]["decoded_each_call"] ==
        RecordJson{"layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj"});
}

TEST_CASE("run_eval: configs with and without throughput in one run") {
  const RunEvalLab lab;
  WriteFile(lab / "timed.yaml",
            "name: timed\nmodel: ./model\nquantize: {methods: [rtn], weights: {group: 16}}\n"
            "accuracy: {dataset: ./text.txt}\n"
            "throughput: {kernels: false, prefill: 0, decode: 4, repetitions: 2}\n");
  const ProcessResult result = lab.Run({lab.config(), "timed.yaml", "--json", "--windows", "2"});
  CheckDone(result);
  const RecordJson records = RecordJson::parse(result.out);
  REQUIRE(records.size() == 4);
  for (size_t i = 0; i < 4; ++i) CHECK(records[i].contains("throughput") == (i >= 2));
  CHECK_FALSE(records[3]["throughput"].contains("prefill_tokens_s"));
  CHECK_FALSE(records[3]["throughput"].contains("kernels"));
}

constexpr char kSynthetic[] =
    "name: syn\nmodel: {synthetic: tiny}\n"
    "quantize:\n  methods: [rtn, {method: rtn, label: w8a8, weights: {bits: 8, group: row}, "
    "activations: {bits: 8}}]\n  weights: {group: 32}\n"
    "throughput: {kernels: false, prefill: 8, decode: 4, repetitions: 2, threads: [1, 2]}\n";

// Beside a model with a text, made once.
struct SyntheticRun {
  SyntheticRun() {
    WriteFile(lab / "syn.yaml", kSynthetic);
    result = lab.Run({lab.config(), "syn.yaml"});
  }
  RunEvalLab lab;
  ProcessResult result;
};
const SyntheticRun& RunSynthetic() {
  static const SyntheticRun run;
  CheckDone(run.result);
  return run;
}

TEST_CASE("run_eval: a synthetic model is timed, stamped and nothing else") {
  const auto& [lab, result] = RunSynthetic();
  for (const char* part : {"SYNTHETIC WEIGHTS: speed only", "tiny", "int4 g32 asym", "a8 token",
                           "prefill tok/s", "2 threads, rtn: prefill"}) {
    INFO(part);
    CHECK(Contains(result.out, part));
  }
  CHECK(lab.RecordFiles().size() == 5);
  const RecordJson record = lab.Record("w8a8");
  CHECK(record["stamp"] == "SYNTHETIC WEIGHTS: speed only");
  CHECK(record["model"]["name"] == "tiny");
  CHECK(record["model"]["synthetic"] == true);
  CHECK(record["path"] == "kernel");
  CHECK(record["scheme"]["bits"] == 8);
  CHECK(record["throughput"]["decode_tokens_s"].size() == 2);
  CHECK(record["environment"]["isa"].is_string());
  for (const char* absent : {"accuracy", "dataset", "protocol", "hashes", "calibration"}) {
    INFO(absent);
    CHECK_FALSE(record.contains(absent));
  }
  size_t references = 0;
  for (const std::string& name : lab.RecordFiles()) {
    if (!name.starts_with("syn-fp16-")) continue;
    const RecordJson reference = RecordJson::parse(ReadFile(lab.records() / name, size_t{1} << 24));
    CHECK(reference["effective_bits"] == 16);
    ++references;
  }
  CHECK(references == 1);
}

TEST_CASE("run_eval: --methods and --dry-run of a synthetic model") {
  const RunEvalLab lab;
  WriteFile(lab / "syn.yaml", kSynthetic);
  const ProcessResult plan = lab.Run({"syn.yaml", "--dry-run"});
  CheckDone(plan);
  for (const char* part : {"14 of 16", "expected: about", "GB of memory", "SYNTHETIC"})
    CHECK(Contains(plan.out, part));
  CHECK(lab.RecordFiles().empty());
  CheckDone(lab.Run({"syn.yaml", "--methods", "rtn", "--quiet"}));
  CHECK(lab.RecordFiles().size() == 2);
  CHECK(lab.Record("rtn")["throughput"]["decode_tokens_s"][0].contains("vs_fp16"));
}

TEST_CASE(
    "run_eval: a synthetic model whose cells fit nowhere is refused before anything is made") {
  const RunEvalLab lab;
  std::string methods;
  for (int i = 0; i < 60; ++i)
    methods += (i == 0 ? "" : ", ") + ("{method: rtn, label: m" + std::to_string(i) + "}");
  WriteFile(lab / "large.yaml",
            "name: large\nmodel: {synthetic: llama-2-13b}\nquantize: {methods: [" + methods +
                "], weights: {bits: 8}}\n");
  const ProcessResult result = lab.Run({"large.yaml"});
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "the weights and caches of llama-2-13b need"));
  CHECK(Contains(result.err, "--methods"));
}

TEST_CASE("record_reader: records of synthetic models hold speed alone") {
  const RunEvalLab& lab = RunSynthetic().lab;
  CHECK(lab.RecordFiles().size() == 5);
  const RecordSet set = ReadRecords(lab.records(), 1);
  REQUIRE(set.records.size() == 5);
  for (const StoredRecord& record : set.records) {
    const bool synthetic = record.cell.config == "syn";
    CHECK(record.HasAccuracy() == !synthetic);
    REQUIRE(record.speed.has_value() == synthetic);
    if (!synthetic) continue;
    CHECK(record.speed->rates.size() == 4);
    CHECK(record.speed->rates[3].name.Text() == "decode 4, 2 threads");
    CHECK(record.speed->rooflines.size() == 2);
  }
}

}  // namespace
}  // namespace quantref
