// A run that is killed again and again loses only the windows in work.

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/base/rng.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

using testing::Process;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

Strings Resumable() {
  return {(testing::SourceDir() / "configs/smoke.yaml").string(),
          "--resume",
          "--set",
          "throughput=none",
          "--set",
          "accuracy.protocol=llamacpp-128",
          "--windows",
          "16"};
}

// Of every record: a run that is killed between its records and its end writes them once more.
void CheckSameResult(const RunEvalLab& lab, const RunEvalLab& whole) {
  size_t records = 0;
  for (const std::string& name : lab.RecordFiles()) {
    if (name.starts_with('.')) continue;  // what a killed run left
    const auto record = testing::RecordJson::parse(ReadFile(lab.records() / name, size_t{1} << 24));
    const testing::RecordJson expected = whole.Record(record["method"].get<std::string>());
    for (const char* part : {"accuracy", "hashes", "protocol"}) {
      CHECK(record[part] == expected[part]);
    }
    ++records;
  }
  CHECK(records >= 2);
}

// Runs until it is killed after that time; false where it was done before.
bool Kill(const RunEvalLab& lab, std::chrono::nanoseconds after) {
  Process process(lab.Command(Resumable()), lab.Options());
  std::this_thread::sleep_for(after);
  process.Signal(SIGKILL);
  return process.Wait().signal == SIGKILL;
}

TEST_CASE("run_eval: killed at 20 random moments, --resume gives the bit-identical result") {
  using Clock = std::chrono::steady_clock;
  const RunEvalLab whole;
  const Clock::time_point start = Clock::now();
  REQUIRE(whole.Run(Resumable()).exit_code == 0);
  const std::chrono::duration<double> length = Clock::now() - start;

  Rng rng(20);
  auto lab = std::make_unique<RunEvalLab>();
  for (int kills = 0; kills < 20;) {
    const std::chrono::duration<double> moment = length * (rng.Uniform() * 0.8);
    if (Kill(*lab, std::chrono::duration_cast<std::chrono::nanoseconds>(moment))) {
      ++kills;
      continue;
    }
    CheckSameResult(*lab, whole);
    lab = std::make_unique<RunEvalLab>();
  }
  REQUIRE(lab->Run(Resumable()).exit_code == 0);
  CheckSameResult(*lab, whole);
}

}  // namespace
}  // namespace quantref
