// Runs that end while they quantize: the cells that were finished are not quantized again.

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::Process;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

// Two cells of the tiny model that are calibrated one after the other; of the second so many ratios
// are tried.
Strings Calibrated(const RunEvalLab& lab, int ratios, const Strings& more = {}) {
  return testing::Together(
      {lab.config(), "--windows", "2", "--threads", "1", "--set",
       "quantize={methods: [gptq, {method: awq, label: awq, awq: {grid: " + std::to_string(ratios) +
           "}}], weights: {bits: 4, group: 16}}",
       "--set", "calibration={dataset: sample, split: validation, samples: 32, length: 64}"},
      more);
}
// The second is at work for seconds behind the first.
constexpr int kFewRatios = 4, kManyRatios = 1000;

Strings KeptFiles(const RunEvalLab& lab) {
  Strings names = lab.RecordFiles();
  std::erase_if(names, [](const std::string& name) { return !name.starts_with(".cell-"); });
  return names;
}

// Waits until the first cell of a run of many ratios is kept and the second is at work.
void WaitForFirstCell(const RunEvalLab& lab, Process& process) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (KeptFiles(lab).empty() && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  // A cell counts once its folder is synchronized, which takes next to no work: what follows is the
  // search for the second.
  constexpr double kSomeWork = 0.3;
  process.WaitForWork(process.Work().value_or(0) + kSomeWork);
}

// Ends the run by the signal once the first cell stands on the disk.
ProcessResult EndBehindTheFirstCell(const RunEvalLab& lab, int signal) {
  Process process(lab.Command(Calibrated(lab, kManyRatios)), lab.Options());
  WaitForFirstCell(lab, process);
  process.Signal(signal);
  return process.Wait();
}

void CheckSameCells(const RunEvalLab& whole, const RunEvalLab& lab) {
  for (const char* method : {"fp16", "gptq", "awq"}) {
    const RecordJson expected = whole.Record(method), found = lab.Record(method);
    for (const char* part : {"accuracy", "hashes", "protocol"})
      CHECK(found[part] == expected[part]);
    if (!expected.contains("layers")) continue;
    for (size_t i = 0; i < expected["layers"].size(); ++i) {
      RecordJson a = expected["layers"][i], b = found["layers"][i];
      a.erase("seconds");
      b.erase("seconds");
      CHECK(a == b);
    }
  }
}

TEST_CASE("run_eval: a cell that was quantized is kept, whatever ends the run, for --resume") {
  const RunEvalLab whole;
  REQUIRE(whole.Run(Calibrated(whole, kFewRatios)).exit_code == 0);
  CHECK(KeptFiles(whole).empty());
  for (const int signal : {SIGKILL, SIGTERM}) {
    const RunEvalLab lab;
    const ProcessResult ended = EndBehindTheFirstCell(lab, signal);
    INFO(ended.err);
    REQUIRE(KeptFiles(lab).size() == 1);
    if (signal == SIGTERM) {
      CHECK(ended.exit_code == 2);
      CHECK(Contains(ended.err, "1 of 2 cells are quantized and kept: go on with --resume"));
    }
    const ProcessResult resumed = lab.Run(Calibrated(lab, kFewRatios, {"--resume"}));
    INFO(resumed.err);
    CHECK(resumed.exit_code == 0);
    CHECK(Contains(resumed.err, "tiny gptq: quantized by an earlier run"));
    CHECK_FALSE(Contains(resumed.err, "tiny awq: quantized"));
    CHECK(Contains(resumed.out, "time: of gptq with what an earlier run took to quantize, on 1"));
    CHECK(lab.Record("gptq")["seconds"]["quantize_threads"] == 1);
    CHECK_FALSE(lab.Record("awq")["seconds"].contains("quantize_threads"));
    CHECK(lab.RecordFiles().size() == 3);
    CheckSameCells(whole, lab);
  }
}

TEST_CASE("run_eval: a kept cell that is damaged is quantized again, loudly") {
  const RunEvalLab lab;
  EndBehindTheFirstCell(lab, SIGKILL);
  REQUIRE(KeptFiles(lab).size() == 1);
  const fs::path file = lab.records() / KeptFiles(lab)[0];
  std::string bytes = ReadFile(file, size_t{1} << 30);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  WriteFileAtomically(file, bytes, true);
  const ProcessResult resumed = lab.Run(Calibrated(lab, kFewRatios, {"--resume"}));
  INFO(resumed.err);
  CHECK(resumed.exit_code == 0);
  CHECK(Contains(resumed.err, "it is damaged, or not of this model: tiny gptq IS QUANTIZED AGAIN"));
  CHECK(lab.RecordFiles().size() == 3);
  // Of another program, model or config it is none of ours, and said to be there.
  WriteFileAtomically(lab.records() / ".cell-0123456789abcdef.tmp", bytes, true);
  const ProcessResult again = lab.Run({lab.config()});
  CHECK(Contains(again.err, "quantized cells of other runs"));
}

TEST_CASE(
    "run_eval: a cell that a run is at work with is no other's, and is taken when it is not") {
  const RunEvalLab lab;
  Process first(lab.Command(Calibrated(lab, kManyRatios)), lab.Options());
  WaitForFirstCell(lab, first);
  first.Signal(SIGSTOP);
  for (const bool resume : {false, true}) {
    const ProcessResult second =
        lab.Run(Calibrated(lab, kFewRatios, resume ? Strings{"--resume"} : Strings{}));
    INFO(second.err);
    CHECK(second.exit_code == 2);
    CHECK(Contains(second.err, "another run is at work with tiny gptq"));
    CHECK(KeptFiles(lab).size() == 1);
  }
  first.Signal(SIGKILL);
  first.Wait();
  CHECK(lab.Run(Calibrated(lab, kFewRatios, {"--resume"})).exit_code == 0);
  CHECK(lab.RecordFiles().size() == 3);
}

TEST_CASE("run_eval: cells that a run left beside its records are removed, but not a journal's") {
  const RunEvalLab lab;
  EndBehindTheFirstCell(lab, SIGKILL);
  REQUIRE(KeptFiles(lab).size() == 1);
  const fs::path file = lab.records() / KeptFiles(lab)[0], copy = lab / "copy";
  fs::copy_file(file, copy);
  REQUIRE(lab.Run(Calibrated(lab, kFewRatios, {"--resume"})).exit_code == 0);
  for (const bool journal : {true, false}) {
    fs::copy_file(copy, file, fs::copy_options::overwrite_existing);
    const fs::path other = lab.records() / ".journal-0123456789abcdef.tmp";
    journal ? testing::WriteFile(other, "of another run") : static_cast<void>(fs::remove(other));
    const ProcessResult again = lab.Run(Calibrated(lab, kFewRatios, {"--resume"}));
    INFO(again.err);
    CHECK(again.exit_code == 0);
    CHECK(Contains(again.err, "3 of 3 cells are finished"));
    CHECK_FALSE(Contains(again.err, "of other runs"));
    CHECK(fs::exists(file) == journal);
  }
}

TEST_CASE("run_eval: the same cell of two configs is kept for each") {
  const RunEvalLab lab;
  testing::WriteFile(lab / "other.yaml", lab.ConfigText("other"));
  const ProcessResult both = lab.Run(Calibrated(lab, kFewRatios, {(lab / "other.yaml").string()}));
  INFO(both.err);
  CHECK(both.exit_code == 0);
  CHECK_FALSE(Contains(both.err, "cannot be kept"));
  CHECK(lab.RecordFiles().size() == 6);
}

TEST_CASE("run_eval: a disk without room for quantized cells ends nothing") {
  const RunEvalLab lab;  // of a model whose cells are larger than their records
  const Strings rounded = testing::SmokeArguments(
      1, {"--set", "quantize={methods: [gptq], weights: {bits: 4, group: 32}}", "--set",
          "calibration={dataset: sample, split: validation, samples: 1, length: 64}"});
  const ProcessResult full = lab.Run(rounded, {.file_size_limit = 200'000});
  INFO(full.err);
  CHECK(full.exit_code == 0);
  CHECK(Contains(full.err, "smoke gptq cannot be kept for --resume"));
  CHECK(lab.RecordFiles().size() == 2);
}

}  // namespace
}  // namespace quantref
