// Budgets of bits from the config to the records, through every way of running.

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "eval/testing/same_records.h"
#include "harness/io/file.h"

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

constexpr char kBudgetCells[] =
    "quantize={methods: [rtn, {method: gptq, label: g}, "
    "{method: rtn, label: drawn, budget: {rule: random, seed: 4}}, "
    "{method: rtn, label: same, budget: {rule: uniform}}], "
    "weights: {group: 16}, budget: {bits: 6, samples: 2, length: 64}}";
constexpr char kBudgetText[] =
    "calibration={dataset: sample, split: validation, samples: 2, length: 64}";

Strings Budgets(const RunEvalLab& lab, const Strings& more = {}) {
  return Together({lab.config(), "--set", kBudgetCells, "--set", kBudgetText}, more);
}

Strings KeptBudgets(const fs::path& folder) {
  Strings names;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with(".budget-"))
      names.push_back(entry.path().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

TEST_CASE("run_eval: a budget gives the same plan and records on 1 and on 3 threads") {
  const RunEvalLab one, three;
  CheckDone(one.Run(Budgets(one, {"--threads", "1"})));
  const ProcessResult result = three.Run(Budgets(three, {"--threads", "3"}));
  CheckDone(result);
  CHECK(RecordTexts(one) == RecordTexts(three));
  CHECK(RecordTexts(one).size() == 5);
  CHECK(KeptBudgets(three.records()).empty());
  CHECK(Contains(result.err, "of 6 bits a weight by sensitivity"));
  CHECK(Contains(result.err, "- {match: \"layers."));
  CHECK(Contains(result.out, "bits chosen on sample validation, 2 x 64 tokens"));

  const RecordJson record = one.Record("rtn"), of_gptq = one.Record("g");
  const RecordJson& budget = record["budget"];
  CHECK(budget["rule"] == "sensitivity");
  CHECK(budget["average_bits"].get<double>() <= 6);
  CHECK(record["effective_bits"].get<double>() == Approx(budget["average_bits"].get<double>()));
  CHECK(budget["kl_sum"].get<double>() < budget["uniform_kl_sum"].get<double>());
  CHECK(budget["matrices"].size() == 14);
  for (const RecordJson& matrix : budget["matrices"]) {
    REQUIRE(matrix["kl"].size() == 3);
    CHECK(matrix["kl"][0].get<double>() > matrix["kl"][2].get<double>());
  }
  CHECK(of_gptq["budget"] == budget);
  CHECK(budget["calibration"]["samples"] == 2);
  CHECK(one.Record("same")["budget"]["average_bits"] == 5.25);
  CHECK(one.Record("same")["scheme"]["name"] == "int4 g16 asym");
  CHECK(!one.Record("drawn")["budget"].contains("calibration"));
  CHECK(!one.Record("drawn")["scheme"].contains("bits"));
}

TEST_CASE("run_eval: a budget's overrides, pasted, are the same cell") {
  const RunEvalLab lab;
  CheckDone(lab.Run(Budgets(lab, {"--methods", "rtn"})));
  const RecordJson record = lab.Record("rtn");
  fs::remove_all(lab.records());
  CheckDone(lab.Run(
      {lab.config(), "--set", "quantize.overrides=" + record["budget"]["overrides"].dump()}));
  CHECK(lab.Record("rtn")["hashes"] == record["hashes"]);
  CHECK(lab.Record("rtn")["accuracy"]["window_nll"] == record["accuracy"]["window_nll"]);
}

TEST_CASE("run_eval: shards with a budget, merged, are the records of one process") {
  const RunEvalLab lab;
  CheckDone(lab.Run(Budgets(lab)));
  const auto whole = RecordTexts(lab);
  fs::remove_all(lab.records());
  const ProcessResult first = lab.Run(Budgets(lab, {"--shard", "1/2", "--threads", "1"}));
  CheckDone(first);
  CHECK(Contains(first.err, "model, sensitivities"));
  const Strings kept = KeptBudgets(lab.records());
  REQUIRE(kept.size() == 1);
  const ProcessResult second = lab.Run(Budgets(lab, {"--shard", "2/2", "--threads", "2"}));
  CheckDone(second);
  CHECK(!Contains(second.err, "model, sensitivities"));  // the first's
  CHECK(KeptBudgets(lab.records()) == kept);
  CheckDone(testing::RunProcess({testing::Program("merge_shards"), lab.records().string()},
                                lab.Options()));
  CHECK(RecordTexts(lab) == whole);
}

TEST_CASE("run_eval: kept sensitivities that are damaged are told and measured again") {
  const RunEvalLab lab;
  CheckDone(lab.Run(Budgets(lab, {"--shard", "1/2"})));
  const std::string kept = KeptBudgets(lab.records()).at(0);
  std::string bytes = ReadFile(kept, size_t{1} << 20);
  for (const size_t at : {size_t{3}, bytes.size() / 2}) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    testing::WriteFile(kept, damaged);
    const ProcessResult again = lab.Run(Budgets(lab, {"--shard", "1/2", "--resume"}));
    CheckDone(again);
    CHECK(Contains(again.err, "SENSITIVITIES ARE MEASURED AGAIN"));
    CHECK(ReadFile(kept, size_t{1} << 20).substr(0, 100) == bytes.substr(0, 100));
  }
  const ProcessResult again = lab.Run(Budgets(lab, {"--shard", "1/2", "--resume"}));
  CHECK(!Contains(again.err, "MEASURED AGAIN"));
}

TEST_CASE("run_eval: --dry-run prices a budget, and what cannot be is refused before anything") {
  const RunEvalLab lab;
  const ProcessResult dry = lab.Run(Budgets(lab, {"--dry-run"}));
  CheckDone(dry);
  CHECK(Contains(dry.out, "for sensitivities"));
  CHECK(!fs::exists(lab.records()));
  const auto refused = [&](const Strings& more, const char* part) {
    const ProcessResult result = lab.Run(Budgets(lab, more));
    CHECK(result.exit_code == 2);
    INFO(result.err);
    CHECK(Contains(result.err, part));
  };
  refused({"--set", "quantize.budget.bits=3.5"}, "at least 4.1875 bits");
  refused({"--set", "quantize.budget.bits=9.6"}, "at most 9.5000 bits");
  refused(
      {"--set", "calibration={dataset: ./text.txt, samples: 2, length: 64}", "--methods", "rtn"},
      "the calibration text is the text that is measured");
  // What will be chosen is not known yet, whatever stands in for it.
  refused({"--set", "model=wikilm-2m", "--set", "quantize.weights={group: 32, symmetric: true}",
           "--set", "quantize.budget.bits=8.4", "--methods", "rtn", "--export", "out",
           "--export-format", "gguf"},
          "and not of 3");
  CHECK(lab.RecordFiles().empty());
}

}  // namespace quantref
