// Runs that are stopped from outside: by Ctrl-C or a full disk. Nothing half done is left, and what
// was done is not lost.

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "eval/testing/run_eval_lab.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::Process;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

// A run that takes half a second or more.
Strings LongRun(const std::string& threads) {
  return {(testing::SourceDir() / "configs/smoke.yaml").string(), "--windows", "12", "--threads",
          threads};
}

// Waits until the journal of a run holds the first windows.
bool WaitForJournal(const RunEvalLab& lab, std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < end) {
    for (const std::string& name : lab.RecordFiles()) {
      std::error_code ignored;
      if (name.starts_with(".journal-") && fs::file_size(lab.records() / name, ignored) > 3000)
        return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

// All that an unfinished run may leave behind is its journal.
bool OnlyTheJournal(const RunEvalLab& lab) {
  const Strings names = lab.RecordFiles();
  return names.size() == 1 && names[0].starts_with(".journal-");
}

// Runs it in the lab until the first windows are done, and then sends it the signal.
ProcessResult Interrupt(const RunEvalLab& lab, int signal) {
  Process process(lab.Command(LongRun("1")), lab.Options());
  REQUIRE(WaitForJournal(lab, std::chrono::seconds(60)));
  process.Signal(signal);
  return process.Wait();
}

TEST_CASE("run_eval: the first Ctrl-C stops it in order, and --resume goes on to the same bits") {
  const RunEvalLab whole;
  REQUIRE(whole.Run(LongRun("2")).exit_code == 0);
  for (const int signal : {SIGINT, SIGTERM}) {
    const RunEvalLab lab;
    const ProcessResult stopped = Interrupt(lab, signal);
    INFO(stopped.err);
    CHECK(stopped.exit_code == 2);
    CHECK(stopped.out == "");
    CHECK(Contains(stopped.err, "run_eval: interrupt: stopped by the user"));
    CHECK(Contains(stopped.err, "--resume"));
    CHECK(OnlyTheJournal(lab));

    Strings arguments = LongRun("1");
    arguments.push_back("--resume");
    const ProcessResult resumed = lab.Run(arguments);
    INFO(resumed.err);
    REQUIRE(resumed.exit_code == 0);
    CHECK(lab.RecordFiles().size() == 2);  // the journal is gone
    CHECK(lab.Record("rtn")["seconds"]["resumed_windows"].get<int>() >= 1);
    for (const char* method : {"fp16", "rtn"})
      CHECK(lab.Record(method)["accuracy"] == whole.Record(method)["accuracy"]);
  }
}

TEST_CASE("run_eval: the second Ctrl-C ends it at once") {
  const RunEvalLab lab;
  const Strings long_windows = {(testing::SourceDir() / "configs/int4_g128.yaml").string(),
                                "--threads", "1"};
  Process process(lab.Command(long_windows), lab.Options());
  REQUIRE(process.WaitForError("NOT WIKITEXT"));  // the text is loaded, the work begins
  process.Signal(SIGINT);
  REQUIRE(process.WaitForError("stopping"));
  process.Signal(SIGINT);
  CHECK(process.Wait().signal == SIGINT);
  for (const std::string& name : lab.RecordFiles()) CHECK(name.starts_with("."));
}

TEST_CASE("run_eval: --resume does not go on with a run of another weight type") {
  const RunEvalLab lab;
  REQUIRE(Interrupt(lab, SIGINT).exit_code == 2);
  Strings arguments = LongRun("1");
  arguments.insert(arguments.end(), {"--resume", "--set", "model={name: wikilm-2m, dtype: fp16}"});
  const ProcessResult result = lab.Run(arguments);
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(Contains(result.err, "beginning anew"));
  CHECK_FALSE(lab.Record("rtn")["seconds"].contains("resumed_windows"));
}

TEST_CASE("run_eval: --resume with nothing to go on with begins anew") {
  const RunEvalLab lab;
  const ProcessResult result = lab.Run({lab.config(), "--resume"});
  CHECK(result.exit_code == 0);
  CHECK(Contains(result.err, "beginning anew"));
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
  CHECK(Contains(full.err, "tiny-fp16-"));
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
