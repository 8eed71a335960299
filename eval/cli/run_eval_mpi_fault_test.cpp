// Runs of several processes, of which one fails or is killed: one message, which names it.

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "eval/testing/mpi_runs.h"
#include "eval/testing/same_records.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::CountOf;
using testing::Elsewhere;
using testing::JournalBytes;
using testing::kMany;
using testing::kTwoWindows;
using testing::Process;
using testing::ProcessResult;
using testing::RanksOf;
using testing::RunEvalLab;
using testing::StartUnlike;
using Strings = std::vector<std::string>;

TEST_CASE("mpirun: where a rank is killed another one says which, and how to go on, and no more") {
  if (!testing::HasMpi()) return;
  struct Run {
    int killed;
    RunEvalLab lab{};
    std::unique_ptr<Process> process{};
  };
  Run runs[] = {{0}, {1}};  // side by side: most of their time is mpirun's
  for (Run& run : runs) {
    const Strings command = testing::Together({"--quiet", "-n", "2", testing::RunEvalProgram()},
                                              testing::SevenModels(kMany));
    run.process =
        std::make_unique<Process>(testing::MpiRun(command, "4"), testing::MpiOptions(run.lab));
    REQUIRE(testing::WaitForMore(run.lab, kTwoWindows));
    const std::map<int, int> ranks = RanksOf(run.lab);
    REQUIRE(ranks.size() == 2);
    kill(ranks.at(run.killed), SIGKILL);
  }
  for (Run& run : runs) {
    const ProcessResult killed = run.process->Wait();
    INFO(killed.err);
    CHECK(killed.exit_code != 0);
    CHECK(CountOf(killed.err, "run_eval: ") == 1);
    CHECK(CountOf(killed.err, "stopp") == 1);
    CHECK(Contains(killed.err, "no answer from rank " + std::to_string(run.killed) + " on "));
    CHECK(Contains(killed.err, "are kept: go on with --resume"));
    CHECK_FALSE(Contains(killed.err, "mpirun noticed"));
    // A launcher that is slow to notice leaves rank 0 the time for all of it.
    CHECK((JournalBytes(run.lab) > 0 || !testing::RecordTexts(run.lab).empty()));
  }
}

TEST_CASE("mpirun: what one rank alone cannot read ends the run, with the rank and the file") {
  if (!testing::HasMpi()) return;
  const RunEvalLab lab;
  const fs::path text = Elsewhere(lab, "text"), model = Elsewhere(lab, "weights");
  fs::remove(text / "text.txt");
  const fs::path weights = model / "model" / "model.safetensors";
  fs::resize_file(weights, fs::file_size(weights) - 1);
  std::map<std::string, std::unique_ptr<Process>> runs;  // by what is wrong
  runs["text.txt"] = StartUnlike(lab, {"-wdir", text.string(), testing::RunEvalProgram()});
  runs["model.safetensors"] =
      StartUnlike(lab, {"-wdir", model.string(), testing::RunEvalProgram()});
  for (const auto& [what, process] : runs) {
    const ProcessResult run = process->Wait();
    INFO(run.err);
    CHECK(run.exit_code == 2);
    CHECK(CountOf(run.err, "run_eval: ") == 1);
    CHECK(Contains(run.err, "run_eval: rank 1 on "));
    CHECK(Contains(run.err, what));
    CHECK(testing::RecordTexts(lab).empty());
  }
}

// Else each would write the records.
TEST_CASE("mpirun: shards are not merged by several processes") {
  if (!testing::HasMpi()) return;
  const RunEvalLab lab;
  const ProcessResult run = testing::RunRanks(lab, 2, {"--merge", lab.path().string()});
  INFO(run.err);
  CHECK(run.exit_code == 2);
  CHECK(CountOf(run.err, "run_eval: ") == 1);
  CHECK(Contains(run.err, "merged by one process"));
}

}  // namespace
}  // namespace quantref
