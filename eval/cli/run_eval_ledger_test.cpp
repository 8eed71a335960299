#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "eval/testing/same_records.h"

// run_eval --ledger end to end: where a cell's change comes from.

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CheckDone;
using testing::Contains;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RecordTexts;
using testing::RunEvalLab;
using testing::Together;
using Strings = std::vector<std::string>;

constexpr char kValidation[] = "calibration={dataset: sample, split: validation, samples: 2}";
constexpr char kAllRounded[] =
    "quantize={methods: [rtn], weights: {bits: 4, group: 16}, activations: {bits: 8}, kv_cache: "
    "{bits: 4, group: 16}}";

Strings Ledger(const RunEvalLab& lab, const Strings& more = {}) {
  return Together({lab.config(), "--ledger", "--set", kValidation}, more);
}

Strings PartNames(const RecordJson& record) {
  Strings names;
  for (const RecordJson& part : record["ledger"]["parts"]) names.push_back(part["name"]);
  return names;
}

double SumOf(const RecordJson& items, const char* key) {
  double sum = 0;
  for (const RecordJson& item : items) sum += item[key].get<double>();
  return sum;
}

// The item that does most alone.
std::string Worst(const RecordJson& record, const std::string& of) {
  double most = -1;
  std::string name;
  for (const RecordJson& item : record["ledger"]["blocks"]["items"]) {
    if (item["of"] != of || item["alone_kl"].get<double>() <= most) continue;
    most = item["alone_kl"].get<double>();
    name = item["name"];
  }
  return name;
}

TEST_CASE("run_eval --ledger: the parts sum to the whole, and the last simulated run is the path") {
  const RunEvalLab lab;
  const ProcessResult result =
      lab.Run(Ledger(lab, {"--ledger-windows", "0", "--set", kAllRounded}));
  CheckDone(result);
  const RecordJson record = lab.Record("rtn");
  const RecordJson &ledger = record["ledger"], &accuracy = record["accuracy"];
  CHECK(PartNames(record) == Strings{"weights", "activations", "kv_cache", "kernels"});
  CHECK(ledger["request"] == "steps");
  CHECK_FALSE(ledger.contains("blocks"));
  const double nll = SumOf(ledger["parts"], "delta_nll"), kl = SumOf(ledger["parts"], "kl");
  CHECK(std::abs(ledger["delta_nll_residual"].get<double>()) < 1e-12);
  CHECK(std::abs(ledger["kl_residual"].get<double>()) < 1e-12);
  CHECK(nll == Approx(accuracy["delta_nll"].get<double>()).margin(1e-12));
  CHECK(kl == Approx(accuracy["kl_mean"].get<double>()).margin(1e-12));
  CHECK(ledger["parts"][3]["window_nll"] == accuracy["window_nll"]);
  for (const RecordJson& part : ledger["parts"]) CHECK(part.contains("delta_nll_ci95"));
  for (const char* text : {"ledger of tiny rtn", "weight rounding", "activation rounding",
                           "rounded cache", "kernel arithmetic", "whole"})
    CHECK(Contains(result.out, text));
  CHECK_FALSE(lab.Record("fp16").contains("ledger"));

  // Each run between is that of a config that rounds no more.
  const auto nll_of = [&](const char* config) {
    RunEvalLab other;
    CheckDone(other.Run({other.config(), "--set", config, "--set", "accuracy.path=simulated"}));
    return other.Record("rtn")["accuracy"]["window_nll"];
  };
  CHECK(ledger["parts"][0]["window_nll"] ==
        nll_of("quantize={methods: [rtn], weights: {bits: 4, group: 16}}"));
  CHECK(ledger["parts"][1]["window_nll"] ==
        nll_of("quantize={methods: [rtn], weights: {bits: 4, group: 16}, activations: {bits: 8}}"));
  CHECK(ledger["parts"][2]["window_nll"] == nll_of(kAllRounded));
}

TEST_CASE("run_eval --ledger: changes no other bit, and is the same for any threads and shards") {
  const RunEvalLab plain, lab;
  CheckDone(plain.Run({plain.config(), "--set", kValidation}));
  const Strings run = Ledger(lab, {"--ledger-windows", "9"});
  CheckDone(lab.Run(Together(run, {"--threads", "3"})));
  const RecordJson with = lab.Record("rtn");
  for (const char* same : {"accuracy", "hashes"}) CHECK(with[same] == plain.Record("rtn")[same]);
  const auto whole = RecordTexts(lab);
  fs::remove_all(lab.records());
  for (const char* shard : {"1/2", "2/2"}) CheckDone(lab.Run(Together(run, {"--shard", shard})));
  CheckDone(testing::RunProcess({testing::Program("merge_shards"), lab.records().string()},
                                lab.Options()));
  CHECK(RecordTexts(lab) == whole);
}

TEST_CASE("run_eval --ledger: a bad block and a bad kind of matrix are found and stand on top") {
  const RunEvalLab lab;
  const std::pair<const char*, const char*> planted[] = {{"layers.1.*", "block"},
                                                         {"layers.*.mlp.down_proj", "kind"}};
  for (const auto& [where, of] : planted) {
    fs::remove_all(lab.records());
    const std::string scheme =
        "quantize={methods: [rtn], weights: {bits: 8, group: 16}, overrides: [{match: \"" +
        std::string(where) + "\", bits: 2}]}";
    const ProcessResult result = lab.Run(Ledger(lab, {"--set", scheme}));
    CheckDone(result);
    const RecordJson record = lab.Record("rtn");
    const std::string worst = std::string(of) == "block" ? "layers.1" : "mlp.down_proj";
    CHECK(Worst(record, of) == worst);
    // The first row of its table.
    const size_t header = result.out.find("\n" + std::string(of) + " ");
    REQUIRE(header != std::string::npos);
    const size_t line = result.out.find('\n', result.out.find('\n', header + 1) + 1);
    INFO(result.out.substr(header, line + 60 - header));
    CHECK(Contains(result.out.substr(header, line + 20 - header), worst));
  }
}

TEST_CASE("run_eval --ledger: items and their residual sum to the cell, on the text asked for") {
  const RunEvalLab lab;
  CheckDone(lab.Run(Ledger(lab, {"--set", kAllRounded})));
  const RecordJson blocks = lab.Record("rtn")["ledger"]["blocks"];
  CHECK(blocks["dataset"] == "sample");
  CHECK(blocks["split"] == "validation");
  CHECK_FALSE(blocks.contains("is_test_text"));
  CHECK(blocks["window_index"].size() == 16);
  for (const std::string of : {"block", "kind"}) {
    for (const std::string quantity : {"delta_nll", "kl"}) {
      double sum = blocks[of + "_residual_" + quantity];
      for (const RecordJson& item : blocks["items"])
        if (item["of"] == of) sum += item["alone_" + quantity].get<double>();
      CHECK(sum == Approx(blocks[quantity].get<double>()).margin(1e-12));
    }
  }
  Strings kinds;
  for (const RecordJson& item : blocks["items"])
    if (item["of"] == "kind") kinds.push_back(item["name"]);
  CHECK(kinds.size() == 8);
  CHECK(kinds.back() == "kv_cache");

  fs::remove_all(lab.records());
  const ProcessResult test = lab.Run(
      Ledger(lab, {"--set", kAllRounded, "--ledger-text", "test", "--ledger-windows", "100000"}));
  CheckDone(test);
  CHECK(Contains(test.out, "TEST TEXT: what is found here is not for choosing"));
  const RecordJson record = lab.Record("rtn");
  const RecordJson& of_test = record["ledger"]["blocks"];
  CHECK(of_test["is_test_text"] == true);
  // All windows: the cell is the cell, however it is put together.
  CHECK(of_test["window_nll"] == record["accuracy"]["window_nll"]);
  CHECK(of_test["reference_window_nll"] == record["accuracy"]["reference_window_nll"]);
  CHECK(of_test["window_kl"] == record["accuracy"]["window_kl"]);
}

TEST_CASE("run_eval --ledger: methods that fold scales, that turn the model, and that do nothing") {
  const RunEvalLab lab;
  const ProcessResult result =
      lab.Run(Ledger(lab, {"--ledger-windows", "8", "--set",
                           "quantize.methods=[awq, quarot, {method: rtn, label: cache, "
                           "weights: none, kv_cache: {bits: 4, group: 16}}]"}));
  CheckDone(result);
  Strings kinds;
  const RecordJson folded = lab.Record("awq");
  for (const RecordJson& item : folded["ledger"]["blocks"]["items"])
    if (item["of"] == "kind") kinds.push_back(item["name"]);
  CHECK(kinds == Strings{"self_attn.q_proj+k_proj+v_proj", "self_attn.o_proj", "mlp"});
  const RecordJson turned = lab.Record("quarot");
  CHECK_FALSE(turned["ledger"].contains("blocks"));
  CHECK(Contains(turned["ledger"]["blocks_left_out"].get<std::string>(), "turns the whole model"));
  CHECK(Contains(result.out, "no blocks and kinds: its method turns the whole model"));
  CHECK(PartNames(lab.Record("cache")) == Strings{"kv_cache"});
}

TEST_CASE("run_eval --ledger: --resume takes no record without it for finished") {
  const RunEvalLab lab;
  CheckDone(lab.Run({lab.config(), "--set", kValidation}));
  const Strings run = Ledger(lab, {"--ledger-windows", "8", "--resume"});
  CheckDone(lab.Run(run));
  size_t with = 0;
  for (const std::string& name : lab.RecordFiles())
    with += Contains(testing::FileText(lab.records() / name), "\"ledger\"") ? 1 : 0;
  CHECK(with == 1);
  const Strings records = lab.RecordFiles();
  const ProcessResult again = lab.Run(run);
  CheckDone(again);
  CHECK(Contains(again.err, "cells are finished"));
  CHECK(lab.RecordFiles() == records);
  CHECK(std::none_of(records.begin(), records.end(),
                     [](const std::string& name) { return name.starts_with(".journal"); }));
}

TEST_CASE("run_eval --ledger: what cannot be is refused before anything is measured") {
  const RunEvalLab lab;
  testing::WriteFile(lab / "short.txt", "Too short.\n");
  testing::WriteFile(lab / "random.yaml",
                     "name: random\nmodel: {synthetic: tiny}\nquantize: {methods: [rtn]}\n");
  const std::pair<Strings, std::string> wrong[] = {
      {{lab.config(), "--ledger-text", "test"}, "--ledger-text requires --ledger"},
      {{lab.config(), "--ledger-windows", "9"}, "--ledger-windows requires --ledger"},
      {{lab.config(), "--ledger", "--ledger-text", "tests"}, "test"},
      {{lab.config(), "--ledger", "--ledger-windows", "-1"}, "--ledger-windows"},
      {{lab.config(), "--ledger"}, "--ledger: calibration.dataset of tiny"},
      {{lab.config(), "--ledger", "--set", "calibration.dataset=./short.txt"},
       "--ledger: calibration.dataset of tiny"},
      {{"random.yaml", "--ledger"}, "a model without weights"}};
  for (const auto& [arguments, message] : wrong) {
    const ProcessResult result = lab.Run(arguments);
    INFO(result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, message));
    CHECK(lab.RecordFiles().empty());
  }
}

}  // namespace
}  // namespace quantref
