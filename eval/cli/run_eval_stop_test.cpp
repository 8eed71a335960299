// Runs that are stopped from outside: by Ctrl-C or a full disk. Nothing half done is left, and what
// was done is not lost.

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::Process;
using testing::ProcessOptions;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

// A run that takes half a second or more.
Strings LongRun(const Strings& more = {}, size_t windows = 12) {
  return testing::SmokeArguments(windows, more);
}

// All that an unfinished run may leave behind is its journal.
bool OnlyTheJournal(const RunEvalLab& lab) {
  const Strings names = lab.RecordFiles();
  return names.size() == 1 && names[0].starts_with(".journal-");
}

// Runs it in the lab until the first windows are done, and then sends it the signal.
ProcessResult Interrupt(const RunEvalLab& lab, int signal) {
  Process process(lab.Command(LongRun()), lab.Options());
  REQUIRE(lab.WaitForWindows());
  process.Signal(signal);
  return process.Wait();
}

// One whose single steps take minutes; loading takes a small part of the time that is waited.
TEST_CASE("run_eval: interrupted in a step of quantizing it ends, and says that nothing is kept") {
  const RunEvalLab lab;
  const Strings endless = {
      (testing::SourceDir() / "configs/smoke.yaml").string(),
      "--threads",
      "1",
      "--set",
      "quantize={methods: [awq], awq: {grid: 1000, clip_grid: 1000}}",
      "--set",
      "calibration={dataset: sample, split: validation, samples: 4, length: 256}"};
  Process process(lab.Command(endless), lab.Options());
  process.WaitForWork(1.5);
  process.Signal(SIGTERM);
  const ProcessResult result = process.Wait();
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "nothing of this is kept"));
  CHECK_FALSE(Contains(result.err, "finished windows"));
  CHECK(lab.RecordFiles().empty());
}

TEST_CASE(
    "run_eval: --resume takes the windows of a run of fewer or of more, and keeps the others") {
  const RunEvalLab lab;
  REQUIRE(Interrupt(lab, SIGINT).exit_code == 2);  // with 12
  const ProcessResult fewer = lab.Run(LongRun({"--resume"}, 1));
  INFO(fewer.err);
  CHECK(fewer.exit_code == 0);
  CHECK(Contains(fewer.err, "of a run of more windows stay in its journal"));
  CHECK(std::ranges::count_if(lab.RecordFiles(), [](const std::string& name) {
          return name.starts_with(".journal-");
        }) == 1);
  for (const std::string& name : lab.RecordFiles()) {
    if (name.starts_with("smoke-")) fs::remove(lab.records() / name);
  }
  const ProcessResult result = lab.Run(LongRun({"--resume"}, 14));
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK_FALSE(Contains(result.err, "beginning anew"));
  CHECK(lab.Record("rtn")["seconds"]["resumed_windows"].get<int>() >= 1);
  CHECK(Contains(result.out, "that an earlier run measured"));
  CHECK(lab.Record("rtn")["accuracy"]["window_nll"].size() == 14);
  CHECK(lab.RecordFiles().size() == 2);
}

TEST_CASE("run_eval: --resume of a complete run leaves its records as they are") {
  const RunEvalLab lab;
  REQUIRE(lab.Run({lab.config()}).exit_code == 0);
  const Strings before = lab.RecordFiles();
  const ProcessResult again = lab.Run({lab.config(), "--resume"});
  INFO(again.err);
  CHECK(again.exit_code == 0);
  CHECK(Contains(again.err, "2 of 2 cells are finished"));
  CHECK(lab.RecordFiles() == before);
  // Of a run that was killed between its records those that are missing are made.
  for (const std::string& name : before) {
    if (name.starts_with("tiny-rtn-")) fs::remove(lab.records() / name);
  }
  REQUIRE(lab.Run({lab.config(), "--resume"}).exit_code == 0);
  CHECK(lab.RecordFiles().size() == 2);
  // Another number of windows is another run; without --resume it is one, too.
  REQUIRE(lab.Run({lab.config(), "--resume", "--windows", "2"}).exit_code == 0);
  CHECK(lab.RecordFiles().size() == 4);
  REQUIRE(lab.Run({lab.config()}).exit_code == 0);
  CHECK(lab.RecordFiles().size() == 6);
}

TEST_CASE("run_eval: a second run of the same is refused while the first is at work") {
  const RunEvalLab lab;
  Process first(lab.Command(LongRun()), lab.Options());
  REQUIRE(lab.WaitForWindows());
  first.Signal(SIGSTOP);
  for (const bool resume : {false, true}) {
    const ProcessResult second = lab.Run(resume ? LongRun({"--resume"}) : LongRun());
    INFO(second.err);
    CHECK(second.exit_code == 2);
    CHECK(Contains(second.err, "another run of the same configs is at work"));
  }
  first.Signal(SIGCONT);
  const ProcessResult result = first.Wait();
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(lab.RecordFiles().size() == 2);
}

TEST_CASE("run_eval: the folder of the records removed under way costs nothing") {
  const RunEvalLab lab;
  Process process(lab.Command(LongRun()), lab.Options());
  REQUIRE(lab.WaitForWindows());
  process.Signal(SIGSTOP);
  fs::remove_all(lab / "results");
  process.Signal(SIGCONT);
  const ProcessResult result = process.Wait();
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(Contains(result.err, "removed while the run was at work"));
  CHECK(lab.RecordFiles().size() == 2);
}

TEST_CASE(
    "run_eval: where that folder cannot be made again the records are elsewhere, and it says "
    "where") {
  const RunEvalLab lab;
  ProcessOptions options = lab.Options();
  fs::create_directory(lab / "tmp");
  options.environment["TMPDIR"] = (lab / "tmp").string();
  Process process(lab.Command(LongRun()), options);
  REQUIRE(lab.WaitForWindows());
  process.Signal(SIGSTOP);
  fs::remove_all(lab / "results");
  testing::WriteFile(lab / "results", "no folder");
  process.Signal(SIGCONT);
  const ProcessResult result = process.Wait();
  INFO(result.err);
  CHECK(result.exit_code == 2);
  const fs::path folder = fs::directory_iterator(lab / "tmp")->path();
  CHECK(Contains(result.err, "the records are in " + folder.string()));
  CHECK(std::distance(fs::directory_iterator(folder), fs::directory_iterator()) == 2);
}

TEST_CASE("run_eval: --resume does not go on with a run of another weight type") {
  const RunEvalLab lab;
  REQUIRE(Interrupt(lab, SIGINT).exit_code == 2);
  const ProcessResult result =
      lab.Run(LongRun({"--resume", "--set", "model={name: wikilm-2m, dtype: fp16}"}));
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(Contains(result.err, "(the windows there are of other settings"));
  CHECK(Contains(result.err, "beginning anew"));
  CHECK_FALSE(lab.Record("rtn")["seconds"].contains("resumed_windows"));
}

TEST_CASE("run_eval: --resume with nothing to go on with begins anew") {
  const RunEvalLab lab;
  const ProcessResult result = lab.Run({lab.config(), "--resume"});
  CHECK(result.exit_code == 0);
  CHECK(Contains(result.err, "beginning anew"));
  CHECK_FALSE(Contains(result.err, "the windows there"));
  CHECK(lab.RecordFiles().size() == 2);
}

TEST_CASE("run_eval: a disk that is full from the start") {
  const RunEvalLab lab;
  const ProcessResult result = lab.Run({lab.config()}, {.file_size_limit = 0});
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(result.signal == 0);
  CHECK(Contains(result.err, "results/records"));
  CHECK(Contains(result.err, "--out"));
  CHECK(lab.RecordFiles().empty());
}

TEST_CASE("run_eval: a disk that fills up during the run") {
  const RunEvalLab lab;
  const ProcessResult full = lab.Run({lab.config()}, {.file_size_limit = 1000});
  INFO(full.err);
  CHECK(full.exit_code == 2);
  CHECK(Contains(full.err, "journal"));
  CHECK(Contains(full.err, "File too large"));
  CHECK(Contains(full.err, "--resume"));
  CHECK(OnlyTheJournal(lab));
  CHECK(lab.Run({lab.config(), "--resume"}).exit_code == 0);
  CHECK(lab.RecordFiles().size() == 2);
}

TEST_CASE("run_eval: a disk that is full when the records are due") {
  const RunEvalLab lab;
  Strings arguments = {lab.config(), "--windows", "1"};
  const ProcessResult full = lab.Run(arguments, {.file_size_limit = 2200});
  INFO(full.err);
  CHECK(full.exit_code == 2);
  CHECK(Contains(full.err, "tiny-fp32-"));
  CHECK(Contains(full.err, "cannot write: File too large"));
  CHECK(OnlyTheJournal(lab));
  arguments.push_back("--resume");
  CHECK(lab.Run(arguments).exit_code == 0);
  CHECK(lab.RecordFiles().size() == 2);
}

TEST_CASE("run_eval: results that cannot be printed are no success") {
  const RunEvalLab lab;
  for (const char* flag : {"--json", "--dry-run"}) {
    INFO(flag);
    const ProcessResult result = lab.Run({lab.config(), flag}, {.standard_output = "/dev/full"});
    INFO(result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, "No space left on device"));
  }
}

}  // namespace
}  // namespace quantref
