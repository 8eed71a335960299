// scripts/nightly from configs to the exit code, on the tiny model.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::MissingPart;
using testing::ProcessOptions;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using testing::WriteFile;
using Strings = std::vector<std::string>;

constexpr size_t kMost = size_t{1} << 24;

class Night {
 public:
  Night() {
    const std::string sample =
        ReadFile(testing::SourceDir() / "eval/sample/sample.test.raw", kMost);
    WriteFile(lab / "text.txt", sample.substr(0, 6000));  // windows enough for intervals
    WriteFile(lab / "configs/tiny.yaml", Config());
    fs::create_directory(lab / "baselines");
  }

  // Paths as from the configs' folder.
  static std::string Config() {
    return "name: tiny\nmodel: ./model\n"
           "quantize: {methods: [rtn], weights: {bits: 4, group: 16}}\n"
           "accuracy: {dataset: ./text.txt}\nthroughput: none\n";
  }

  Strings Command(const Strings& arguments) const {
    Strings command = {(testing::SourceDir() / "scripts/nightly").string(),
                       "--configs",
                       "configs",
                       "--records",
                       "records",
                       "--baselines",
                       "baselines"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
  }
  ProcessOptions Options() const {
    ProcessOptions options;
    options.environment["QUANTREF_BIN"] =
        fs::path(testing::RunEvalProgram()).parent_path().string();
    return lab.Options(options);
  }
  ProcessResult Run(const Strings& arguments) const {
    return testing::RunProcess(Command(arguments), Options());
  }

  // The nights in the order of their names.
  std::vector<fs::path> Folders() const {
    std::vector<fs::path> folders;
    for (const auto& entry : fs::directory_iterator(lab / "records"))
      folders.push_back(entry.path());
    std::sort(folders.begin(), folders.end());
    return folders;
  }

  std::string Summary() const { return ReadFile(Folders().back() / "summary.md", kMost); }

  RecordJson Baseline() const {
    return RecordJson::parse(ReadFile(lab / "baselines/tiny.json", kMost));
  }

  RunEvalLab lab;
};

void CheckCode(const ProcessResult& result, int code) {
  INFO("stdout: " << result.out);
  INFO("stderr: " << result.err);
  CHECK(result.exit_code == code);
}

TEST_CASE("nightly: records by date, a baseline by command, a regression caught") {
  const Night night;
  CheckCode(night.Run({"--allow-missing"}), 0);
  REQUIRE(night.Folders().size() == 1);
  const fs::path first = night.Folders()[0];
  CHECK(first.filename().string().size() == std::string("2026-01-31").size());
  CHECK(MissingPart(
            night.Summary(),
            {"# Nightly 20", "Nothing failed, but not all was judged. Without a baseline: tiny.",
             "| tiny | done | **no baseline**: nothing judged |", "--update-baseline tiny"}) == "");
  CHECK(MissingPart(ReadFile(first / "tiny.junit.xml", kMost),
                    {"failures=\"0\"", "<skipped message=\"no baseline\"/>"}) == "");
  CHECK(fs::is_empty(night.lab / "baselines"));  // nothing is made silently

  const ProcessResult made = night.Run({"--update-baseline", "tiny"});
  CheckCode(made, 0);
  CHECK(MissingPart(made.out, {"baselines/tiny.json: baseline of 2 cells\n"}) == "");
  RecordJson baseline = night.Baseline();
  REQUIRE(baseline.size() == 2);

  CheckCode(night.Run({}), 0);
  REQUIRE(night.Folders().size() == 2);  // the same day, or the next one at midnight
  CHECK(fs::exists(first / "summary.md"));
  CHECK(MissingPart(
            night.Summary(),
            {"All passed.", "| tiny | done | passed: 2 of 2 cells judged: 2 same · gate: passed |",
             "**2 of 2 cells judged: 2 same** · gate: passed"}) == "");
  CHECK(fs::exists(night.Folders().back() / "tiny.junit.xml"));

  // As if the method had been better when the baseline was made.
  for (RecordJson& nll : baseline[1]["accuracy"]["window_nll"]) nll = nll.get<double>() - 1;
  WriteFile(night.lab / "baselines/tiny.json", baseline.dump());
  const ProcessResult worse = night.Run({"--", "--threads", "1"});
  CheckCode(worse, 1);
  CHECK(MissingPart(worse.out, {"tiny: done; comparison: gate FAILED", "summary: records/"}) == "");
  CHECK(MissingPart(night.Summary(), {"**Failed** (exit code 1).", "**gate FAILED**", "1 worse",
                                      "| tiny rtn | worse |"}) == "");
  CHECK(MissingPart(ReadFile(night.Folders().back() / "tiny.junit.xml", kMost),
                    {"failures=\"1\""}) == "");
  CHECK(night.Baseline() == baseline);

  const ProcessResult replaced = night.Run({"--update-baseline", "tiny", first / "tiny"});
  CheckCode(replaced, 0);
  CHECK(MissingPart(replaced.out, {"baseline of 2 cells, in place of one of 2"}) == "");
  CheckCode(night.Run({}), 0);
}

TEST_CASE("nightly: a config that fails stops no other") {
  const Night night;
  WriteFile(night.lab / "configs/a_broken.yaml", "name: broken\nmodle: ./model\n");
  WriteFile(night.lab / "baselines/tiny.json", "{}");
  const ProcessResult result = night.Run({"--", "--windows", "8"});
  CheckCode(result, 2);
  CHECK(MissingPart(night.Summary(),
                    {"**Failed** (exit code 2).", "| a_broken | **FAILED** (exit code 2) | - |",
                     "did you mean 'model'", "| tiny | done | **not possible** (exit code 2) |",
                     "baselines/tiny.json: schema: expected 1"}) == "");
  const auto junit = [&](const char* file) {
    return ReadFile(night.Folders().back() / file, kMost);
  };
  CHECK(MissingPart(junit("a_broken.run.junit.xml"),
                    {"failures=\"1\"", "name=\"a_broken run\"", "message=\"exit code 2\"",
                     "did you mean 'model'"}) == "");
  CHECK(MissingPart(junit("tiny.junit.xml"), {"failures=\"1\"", "name=\"tiny comparison\"",
                                              "baselines/tiny.json: schema: expected 1"}) == "");
  CHECK_FALSE(fs::exists(night.Folders().back() / "tiny.run.junit.xml"));
  // The bounds between the paths are a gate: its records are kept and compared.
  fs::remove(night.lab / "configs/a_broken.yaml");
  fs::remove(night.lab / "baselines/tiny.json");
  CheckCode(night.Run({"--", "--set", "accuracy.max_linear_gap=1e-30"}), 1);
  CHECK(MissingPart(night.Summary(), {"| tiny | **gate FAILED**: kernels and decoded",
                                      "GATE FAILED", "No baseline."}) == "");
  CHECK(MissingPart(junit("tiny.run.junit.xml"), {"failures=\"1\"", "GATE FAILED"}) == "");
}

TEST_CASE("nightly: a night that had nothing to compare with has not passed") {
  const Night night;
  CheckCode(night.Run({"--", "--windows", "8", "--methods", "fp16"}), 1);
  const std::string summary = night.Summary();
  CHECK(MissingPart(summary, {"**Failed** (exit code 1). Without a baseline: tiny."}) == "");
  CHECK(summary.find("All passed") == std::string::npos);
  CHECK(MissingPart(ReadFile(night.Folders()[0] / "tiny.junit.xml", kMost),
                    {"failures=\"1\"",
                     "<failure type=\"missing\" message=\"no baseline\"></failure>"}) == "");
}

TEST_CASE("nightly: wrong arguments") {
  const Night night;
  const std::vector<std::pair<Strings, std::string>> wrong = {
      {{"--config", "x"}, "found '--config'"},
      {{"--configs"}, "expected a value"},
      {{"--configs", "nowhere"}, "expected configs (*.yaml) in nowhere"},
      {{"--gate", "nowhere.yaml"}, "found no file nowhere.yaml"},
      {{"--baselines", "nowhere"}, "found no folder nowhere"},
      {{"--configs", ""}, "--configs: expected a value, found \"\""},
      {{"--records", ""}, "--records: expected a value, found \"\""},
      {{"--baselines", ""}, "--baselines: expected a value, found \"\""},
      {{"--gate", ""}, "--gate: expected a value, found \"\""},
      {{"--update-baseline", ""}, "--update-baseline: expected a value, found \"\""},
      {{"--update-baseline", "tiny", ""}, "--update-baseline tiny: expected"},
      {{"--update-baseline", "tiny"}, "no records of tiny"},
      {{"--update-baseline", "../x"}, "expected a config's name"},
      {{"--update-baseline", "tiny", "text.txt"}, "text.txt"}};
  for (const auto& [arguments, message] : wrong) {
    const ProcessResult result = night.Run(arguments);
    CheckCode(result, 2);
    CHECK(MissingPart(result.err, {message}) == "");
  }
  CHECK_FALSE(fs::exists(night.lab / "records"));
  CHECK(MissingPart(night.Run({"--help"}).out, {"--update-baseline NAME", "Exit codes"}) == "");
}

TEST_CASE("nightly: SIGTERM ends it while a config is measured, and its summary says so") {
  const Night night;
  WriteFile(night.lab / "configs/tiny.yaml", night.Config() + "calibration: {dataset: ./pipe}\n");
  WriteFile(night.lab / "configs/unreached.yaml", night.Config());
  REQUIRE(::mkfifo((night.lab / "pipe").c_str(), 0600) == 0);
  testing::Process process(night.Command({}), night.Options());
  int writer = -1;
  for (int i = 0; i < 60'000 && writer < 0; ++i) {  // until run_eval waits for the pipe's text
    writer = ::open((night.lab / "pipe").c_str(), O_WRONLY | O_NONBLOCK);
    if (writer < 0) ::usleep(1000);
  }
  process.Signal(SIGTERM);
  const ProcessResult result = process.Wait();
  ::close(writer);
  CheckCode(result, 130);
  CHECK(MissingPart(night.Summary(), {"**Stopped** before its end.", "stopped by a signal"}) == "");
  CHECK(MissingPart(night.Summary(), {"unreached"}) != "");
}

// Baselines are never made of something else, nor written over it.
TEST_CASE("compare_results: --write-baseline") {
  const Night night;
  REQUIRE(night.lab.Run({"configs/tiny.yaml", "--out", "a"}).exit_code == 0);
  const std::time_t second = std::time(nullptr);  // of two records of one second either is newer
  while (std::time(nullptr) == second) ::usleep(10'000);
  REQUIRE(night.lab.Run({"configs/tiny.yaml", "--out", "b"}).exit_code == 0);
  const auto run = [&](Strings arguments) {
    arguments.insert(arguments.begin(), testing::Program("compare_results"));
    return testing::RunProcess(arguments, night.lab.Options());
  };
  CheckCode(run({"--write-baseline", "new/base.json", "a", "b"}), 0);
  const std::string text = ReadFile(night.lab / "new/base.json", kMost);
  CHECK(RecordJson::parse(text).size() == 2);
  for (const auto& entry : fs::directory_iterator(night.lab / "b")) {
    std::string record = ReadFile(entry.path(), kMost);
    record.pop_back();
    CHECK(text.find(record) != std::string::npos);  // byte for byte, so that ids stay true
  }
  CheckCode(run({"new/base.json", "a", "--gate"}), 0);
  fs::create_symlink("new/base.json", night.lab / "link.json");
  CheckCode(run({"--write-baseline", "link.json", "a"}), 0);
  CHECK(fs::is_symlink(night.lab / "link.json"));
  CHECK(RecordJson::parse(ReadFile(night.lab / "new/base.json", kMost)).size() == 2);
  const ProcessResult record = run({"a", "--write-baseline", "text.txt"});
  CheckCode(record, 2);
  const std::string one = fs::directory_iterator(night.lab / "a")->path().string();
  const ProcessResult over = run({"b", "--write-baseline", one});
  CheckCode(over, 2);
  CHECK(MissingPart(over.err, {"expected a new file or a baseline"}) == "");
  const ProcessResult again = run({"new/base.json", "--write-baseline", "other.json"});
  CheckCode(again, 2);
  CHECK(MissingPart(again.err, {"found a baseline"}) == "");
  CHECK(RecordJson::parse(ReadFile(night.lab / "new/base.json", kMost)).size() == 2);
}

}  // namespace
}  // namespace quantref
