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

// Two cells that are calibrated one after the other, the second for longer than the first.
Strings Calibrated(std::initializer_list<std::string> more = {}) {
  Strings arguments = {
      (testing::SourceDir() / "configs/smoke.yaml").string(),
      "--windows",
      "2",
      "--threads",
      "1",
      "--set",
      "throughput=none",
      "--set",
      "quantize={methods: [gptq, awq], weights: {bits: 4, group: 32}, awq: {grid: 60}}",
      "--set",
      "calibration={dataset: sample, split: validation, samples: 2, length: 256}"};
  arguments.insert(arguments.end(), more);
  return arguments;
}

Strings KeptFiles(const RunEvalLab& lab) {
  Strings names = lab.RecordFiles();
  std::erase_if(names, [](const std::string& name) { return !name.starts_with(".cell-"); });
  return names;
}

// Ends the run by the signal once the first cell stands on the disk.
ProcessResult EndBehindTheFirstCell(const RunEvalLab& lab, int signal) {
  Process process(lab.Command(Calibrated()), lab.Options());
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (KeptFiles(lab).empty() && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  // The message counts a cell once its folder is synchronized, a moment after its file has its
  // name.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
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
  REQUIRE(whole.Run(Calibrated()).exit_code == 0);
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
    const ProcessResult resumed = lab.Run(Calibrated({"--resume"}));
    INFO(resumed.err);
    CHECK(resumed.exit_code == 0);
    CHECK(Contains(resumed.err, "smoke gptq: quantized by an earlier run"));
    CHECK_FALSE(Contains(resumed.err, "smoke awq: quantized"));
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
  const ProcessResult resumed = lab.Run(Calibrated({"--resume"}));
  INFO(resumed.err);
  CHECK(resumed.exit_code == 0);
  CHECK(
      Contains(resumed.err, "it is damaged, or not of this model: smoke gptq IS QUANTIZED AGAIN"));
  CHECK(lab.RecordFiles().size() == 3);
  // Of another program, model or config it is none of ours, and said to be there.
  WriteFileAtomically(lab.records() / ".cell-0123456789abcdef.tmp", bytes, true);
  const ProcessResult again = lab.Run({lab.config()});
  CHECK(Contains(again.err, "quantized cells of other runs"));
}

TEST_CASE("run_eval: a disk without room for quantized cells ends nothing") {
  const RunEvalLab lab;
  const ProcessResult full = lab.Run(Calibrated(), {.file_size_limit = 200'000});
  INFO(full.err);
  CHECK(full.exit_code == 0);
  CHECK(Contains(full.err, "smoke gptq cannot be kept for --resume"));
  CHECK(lab.RecordFiles().size() == 3);
}

}  // namespace
}  // namespace quantref
