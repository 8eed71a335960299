#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/io/file.h"

// The program on records of real runs: what changed is found and blamed on the right stage.

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using testing::WriteFile;
using Strings = std::vector<std::string>;

ProcessResult Compare(const RunEvalLab& lab, const Strings& arguments) {
  Strings command = {testing::Program("compare_results")};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return testing::RunProcess(command, lab.Options());
}

RecordJson CompareJson(const RunEvalLab& lab, const std::string& a, const std::string& b) {
  const ProcessResult result = Compare(lab, {a, b, "--format", "json"});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  return RecordJson::parse(result.out);
}

const RecordJson& Cell(const RecordJson& comparison, const std::string& method) {
  for (const RecordJson& cell : comparison["cells"]) {
    if (cell["method"] == method) return cell;
  }
  FAIL("no cell " << method);
  return comparison;
}

// One run of a method that calibrates, made once; its records are in "before".
const RunEvalLab& Lab() {
  static const RunEvalLab lab;
  static const ProcessResult result = [] {
    const std::string sample =
        ReadFile(testing::SourceDir() / "eval/sample/sample.validation.raw", size_t{1} << 20);
    WriteFile(lab / "calibration.txt", sample.substr(0, 6000));
    WriteFile(lab / "night.yaml",
              "name: night\nmodel: ./model\n"
              "quantize: {methods: [rtn, gptq], weights: {bits: 4, group: 16}}\n"
              "calibration: {dataset: ./calibration.txt, samples: 3}\n"
              "accuracy: {dataset: ./text.txt}\nthroughput: none\n");
    return lab.Run({"night.yaml", "--out", "before"});
  }();
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  return lab;
}

void Rerun(const std::string& folder, const Strings& arguments = {},
           const std::string& config = "night.yaml") {
  Strings all = {config, "--out", folder};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const ProcessResult result = Lab().Run(all);
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
}

std::string OnlyFile(const std::string& folder, const std::string& method) {
  for (const auto& entry : fs::directory_iterator(Lab() / folder)) {
    const std::string name = entry.path().filename().string();
    if (name.find("-" + method + "-") != std::string::npos) return folder + "/" + name;
  }
  FAIL("no record of " << method);
  return "";
}

TEST_CASE("compare_results: a rerun is the same, bit for bit") {
  Rerun("again", {"--threads", "1"});
  const RecordJson comparison = CompareJson(Lab(), "before", "again");
  REQUIRE(comparison["cells"].size() == 3);
  for (const RecordJson& cell : comparison["cells"]) {
    CHECK(cell["accuracy"]["verdict"] == "same");
    CHECK(cell["accuracy"]["identical"] == true);
    CHECK_FALSE(cell.contains("cause"));
  }
  const auto run = [](const std::string& file) {
    return RecordJson::parse(ReadFile(Lab() / file, size_t{1} << 24))["run"];
  };
  CHECK(run(OnlyFile("before", "rtn")) == run(OnlyFile("before", "fp32")));
  CHECK(run(OnlyFile("before", "rtn")) != run(OnlyFile("again", "rtn")));
  const ProcessResult gated = Compare(Lab(), {"before", "again", "--gate"});
  CHECK(gated.exit_code == 0);
  CHECK(gated.out.find("3 of 3 cells judged: 3 same\ngate: passed\n") != std::string::npos);
}

TEST_CASE("compare_results: fewer bits under the same name are caught, blamed and gated") {
  const std::string sample =
      ReadFile(testing::SourceDir() / "eval/sample/sample.test.raw", size_t{1} << 20);
  WriteFile(Lab() / "long.txt", sample.substr(0, 40'000));
  WriteFile(Lab() / "trained.yaml",  // a model that has something to lose
            "name: trained\nmodel: wikilm-2m\n"
            "quantize: {methods: [rtn], weights: {bits: 8, group: 64}}\n"
            "accuracy: {dataset: ./long.txt, protocol: llamacpp-512, metrics: [ppl]}\n"
            "throughput: none\n");
  Rerun("bits8", {"--windows", "8"}, "trained.yaml");
  Rerun("bits3", {"--windows", "8", "--set", "quantize.weights.bits=3"}, "trained.yaml");
  const RecordJson comparison = CompareJson(Lab(), "bits8", "bits3");
  CHECK(Cell(comparison, "fp16")["accuracy"]["verdict"] == "same");
  const RecordJson& cell = Cell(comparison, "rtn");
  CHECK(cell["accuracy"]["verdict"] == "worse");
  CHECK(cell["cause"]["stage"] == "packed weights");
  CHECK(cell["changes"][0]["what"] == "config.quantize.weights.bits");
  CHECK(cell["changes"][0]["candidate"] == "3");

  CHECK(Compare(Lab(), {"bits8", "bits3"}).exit_code == 0);  // no gate was asked for
  CHECK(Compare(Lab(), {"bits8", "bits3", "--gate"}).exit_code == 1);
  CHECK(Compare(Lab(), {"--gate", "bits8", "bits3"}).exit_code == 1);
  // Better is no failure, but other weights are one until they are let pass.
  CHECK(Compare(Lab(), {"bits3", "bits8", "--gate"}).exit_code == 1);
  WriteFile(Lab() / "gate.yaml", "accuracy: {fail_on: [worse, unjudged, missing]}\n");
  CHECK(Compare(Lab(), {"bits3", "bits8", "--gate", "gate.yaml"}).exit_code == 0);
  WriteFile(Lab() / "gate.yaml", "accuracy: {worse_nll: 50, fail_on: [worse]}\n");
  CHECK(Compare(Lab(), {"bits8", "bits3", "--gate", "gate.yaml"}).exit_code == 0);
}

TEST_CASE("compare_results: a method that rounds wrongly is caught, the others are the same") {
  Strings command = {testing::Program("run_eval_planted"), "night.yaml", "--out", "planted"};
  const ProcessResult result = testing::RunProcess(command, Lab().Options());
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  const RecordJson comparison = CompareJson(Lab(), "before", "planted");
  CHECK(Cell(comparison, "fp32")["accuracy"]["identical"] == true);
  CHECK(Cell(comparison, "gptq")["accuracy"]["identical"] == true);
  const RecordJson& cell = Cell(comparison, "rtn");
  CHECK(cell["accuracy"]["identical"] == false);
  CHECK(cell["cause"]["stage"] == "packed weights");
  CHECK(cell["cause"]["matrix"] == "layers.0.self_attn.q_proj");
  CHECK_FALSE(cell.contains("changes"));  // the same config, and the same commit by name
  // Whatever its accuracy says, or cannot.
  WriteFile(Lab() / "changed.yaml", "accuracy: {fail_on: [changed]}\n");
  const ProcessResult gated = Compare(Lab(), {"before", "planted", "--gate", "changed.yaml"});
  CHECK(gated.exit_code == 1);
  CHECK(gated.out.find("packed weights: layers.0.self_attn.q_proj") != std::string::npos);
}

TEST_CASE("compare_results: other calibration samples are blamed on calibration") {
  Rerun("seed", {"--set", "calibration.seed=1"});
  const RecordJson comparison = CompareJson(Lab(), "before", "seed");
  CHECK(Cell(comparison, "rtn")["accuracy"]["identical"] == true);  // reads none
  const RecordJson& gptq = Cell(comparison, "gptq");
  CHECK(gptq["accuracy"]["identical"] == false);
  CHECK(gptq["cause"]["stage"] == "calibration");
}

TEST_CASE("compare_results: another text and another tokenizer are never compared") {
  const std::string text = ReadFile(Lab() / "text.txt", size_t{1} << 20);
  WriteFile(Lab() / "text.txt", text + "and more of it\n");
  Rerun("text");
  WriteFile(Lab() / "text.txt", text);
  const std::string tokenizer = ReadFile(Lab() / "model/tokenizer.model", size_t{1} << 24);
  // A field that no reader knows: the same pieces, another file.
  WriteFile(Lab() / "model/tokenizer.model", tokenizer + std::string("\xc2\x3e\x00", 3));
  Rerun("tokenizer");
  WriteFile(Lab() / "model/tokenizer.model", tokenizer);
  for (const std::string stage : {"text", "tokens"}) {
    const std::string folder = stage == "text" ? stage : "tokenizer";
    const std::string field = stage == "text" ? "protocol.token_sha256" : "model.tokenizer_sha256";
    const RecordJson comparison = CompareJson(Lab(), "before", folder);
    for (const RecordJson& cell : comparison["cells"]) {
      CHECK(cell["accuracy"]["verdict"] == "not comparable");
      CHECK(cell["accuracy"]["why"].get<std::string>().find(field + " differs: ") == 0);
      CHECK(cell["cause"]["stage"] == stage);
    }
    CHECK(Compare(Lab(), {"before", folder, "--gate"}).exit_code == 1);
    // Two files, asked for by name: there is nothing to say but why not.
    const ProcessResult two = Compare(Lab(), {OnlyFile("before", "rtn"), OnlyFile(folder, "rtn")});
    CHECK(two.exit_code == 2);
    CHECK(two.err.find("not comparable: " + field) != std::string::npos);
  }
}

TEST_CASE("compare_results: wrong input") {
  const std::string rtn = OnlyFile("before", "rtn");
  const ProcessResult other = Compare(Lab(), {rtn, OnlyFile("before", "gptq")});
  CHECK(other.exit_code == 2);
  CHECK(other.err.find("method differs: rtn and gptq") != std::string::npos);
  CHECK(Compare(Lab(), {rtn, rtn}).exit_code == 0);
  CHECK(Compare(Lab(), {"before"}).exit_code == 2);
  CHECK(Compare(Lab(), {"before", "nowhere"}).err.find("nowhere") != std::string::npos);
  CHECK(Compare(Lab(), {"before", "before", "--format", "xml"}).exit_code == 2);
  CHECK(Compare(Lab(), {"before", "before", "--gate", "none.yaml"}).exit_code == 2);
  const ProcessResult eaten = Compare(Lab(), {"--gate", "before", "before", "--format", "json"});
  CHECK(eaten.exit_code == 2);
  CHECK(eaten.err.find("put --gate last") != std::string::npos);
  WriteFile(Lab() / "no_record/a.json", "{\"schema\": 1}");
  const ProcessResult broken = Compare(Lab(), {"before", "no_record"});
  CHECK(broken.exit_code == 2);
  CHECK(broken.err.find("no_record/a.json: id: expected text, found nothing") != std::string::npos);
}

}  // namespace
}  // namespace quantref
