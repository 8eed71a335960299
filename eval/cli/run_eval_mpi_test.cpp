// Runs of several processes: the records of one, to the byte, whatever happens on the way.

#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "eval/testing/mpi_runs.h"
#include "eval/testing/run_eval_lab.h"
#include "eval/testing/same_records.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CheckDone;
using testing::Contains;
using testing::CountOf;
using testing::Elsewhere;
using testing::HasMpi;
using testing::JournalBytes;
using testing::kFew;
using testing::kMany;
using testing::kTwoWindows;
using testing::MpiOptions;
using testing::MpiRun;
using testing::Process;
using testing::ProcessOptions;
using testing::ProcessResult;
using testing::RanksOf;
using testing::RecordTexts;
using testing::RunEvalLab;
using testing::RunRanks;
using testing::SevenModels;
using testing::StartUnlike;
using testing::TinyOf;
using testing::WaitForMore;
using Strings = std::vector<std::string>;

const Strings kInOrder = {"--set", "accuracy.order=text"};  // so that few are the first of many

size_t CountPartial(const RunEvalLab& lab) {
  size_t count = 0;
  for (const std::string& name : lab.RecordFiles()) count += name.ends_with(".partial.json");
  return count;
}

TEST_CASE("mpirun: 2 and 3 ranks give the records of one process, to the byte") {
  if (!HasMpi()) return;
  const RunEvalLab lab;
  const ProcessResult alone = lab.Run(TinyOf(lab));
  CheckDone(alone);
  const auto whole = RecordTexts(lab);
  REQUIRE(whole.size() == 4);
  for (const size_t ranks : {2u, 3u}) {
    fs::remove_all(lab.records());
    const ProcessResult run = RunRanks(lab, ranks, TinyOf(lab));
    CheckDone(run);
    CHECK(RecordTexts(lab) == whole);
    CHECK(lab.RecordFiles().size() == 4);  // no journal, no cell
    CHECK(lab.Record("gptq")["environment"]["hosts"].size() == 1);
    CHECK(CountOf(run.out, "gptq") == CountOf(alone.out, "gptq"));  // rank 0 speaks for all
  }
}

TEST_CASE("mpirun: on wikilm-2m, with throughput on the first rank and a stop rule") {
  if (!HasMpi()) return;
  const RunEvalLab lab;
  const Strings stop = testing::SmokeArguments(
      10, {"--set", "accuracy.stop={delta_nll_halfwidth: 1, min_windows: 8}", "--set",
           "accuracy.protocol=llamacpp-256"});
  CheckDone(lab.Run(stop));
  const auto whole = RecordTexts(lab);
  fs::remove_all(lab.records());
  CheckDone(RunRanks(lab, 2, stop));
  CHECK(RecordTexts(lab) == whole);
  fs::remove_all(lab.records());
  CheckDone(
      RunRanks(lab, 2, TinyOf(lab, {"--methods", "rtn", "--set", testing::kQuickThroughput})));
  CHECK(lab.Record("rtn").contains("throughput"));
}

TEST_CASE("mpirun: of a study, records that stand are everybody's") {
  if (!HasMpi()) return;
  const RunEvalLab lab;
  const Strings study = {"--methods", "rtn", "--set", "quantize.weights.bits=[3, 4]"};
  const ProcessResult alone = lab.Run(TinyOf(lab, study));
  const auto whole = RecordTexts(lab);
  fs::remove_all(lab.records());
  const ProcessResult run = RunRanks(lab, 2, TinyOf(lab, study));
  INFO(run.err);
  CHECK(run.exit_code == alone.exit_code);
  CHECK(RecordTexts(lab) == whole);
  const ProcessResult again = RunRanks(lab, 2, TinyOf(lab, study));
  INFO(again.err);
  CHECK(again.exit_code == alone.exit_code);
  CHECK(Contains(again.err, "cells are finished"));
  CHECK(RecordTexts(lab) == whole);
}

// What happens to a run of two ranks while it measures windows, once it has added two or more.
ProcessResult Disturb(const RunEvalLab& lab, const Strings& more,
                      const std::function<void(const std::map<int, int>& ranks)>& disturb) {
  const uintmax_t before = JournalBytes(lab);
  Process process(MpiRun(2, SevenModels(kMany, more)), MpiOptions(lab));
  REQUIRE(WaitForMore(lab, before + kTwoWindows));
  const std::map<int, int> ranks = RanksOf(lab);
  REQUIRE(ranks.size() == 2);
  disturb(ranks);
  return process.Wait();
}

TEST_CASE("mpirun: a full disk and a rank that is killed lose no window, whoever goes on") {
  if (!HasMpi()) return;
  const RunEvalLab lab;
  const Strings resume = testing::Together(kInOrder, {"--resume"});
  CheckDone(lab.Run(SevenModels(kFew, kInOrder)));
  const auto whole = RecordTexts(lab);
  fs::remove_all(lab.records());
  const ProcessResult full = Disturb(lab, kInOrder, [](const std::map<int, int>& ranks) {
    const rlimit limit{1, 1};
    REQUIRE(prlimit(ranks.at(0), RLIMIT_FSIZE, &limit, nullptr) == 0);
  });
  INFO(full.err);
  CHECK(full.exit_code == 2);
  CHECK(Contains(full.err, "the journal cannot be written: File too large"));
  CHECK(CountOf(full.err, "run_eval: ") == 1);
  const uintmax_t kept = JournalBytes(lab);
  const ProcessResult killed =
      Disturb(lab, resume, [](const auto& ranks) { kill(ranks.at(1), SIGKILL); });
  INFO(killed.err);
  CHECK(killed.exit_code != 0);
  CHECK(Contains(killed.err, "signal 9"));
  CHECK(JournalBytes(lab) > kept);
  CheckDone(RunRanks(lab, 3, SevenModels(kFew, resume)));
  CHECK(RecordTexts(lab) == whole);
  CHECK(lab.Record("fp16")["seconds"]["resumed_windows"].get<int>() >= 4);
}

// As a batch system does at its limit of time; the first hears of it last, and may hear of it
// twice.
TEST_CASE("mpirun: SIGTERM to all ranks at once leaves records of what there is, as Ctrl-C does") {
  if (!HasMpi()) return;
  const RunEvalLab lab;
  Process process(MpiRun(3, SevenModels(kMany)), MpiOptions(lab));
  REQUIRE(process.WaitForError("after 8 of 200 windows"));
  const std::map<int, int> ranks = RanksOf(lab);
  REQUIRE(ranks.size() == 3);
  for (const int rank : {1, 2, 0}) kill(ranks.at(rank), SIGTERM);
  REQUIRE(process.WaitForError("stopped by a signal"));
  std::this_thread::sleep_for(std::chrono::milliseconds(60));  // not to be taken for the same one
  for (const int rank : {1, 2, 0}) kill(ranks.at(rank), SIGTERM);
  const ProcessResult stopped = process.Wait();
  INFO(stopped.err);
  CHECK(stopped.exit_code == 2);
  CHECK(CountOf(stopped.err, "run_eval: interrupt: stopped by a signal") == 1);
  CHECK(CountOf(stopped.out, "INTERRUPTED after ") == 1);
  CHECK(CountPartial(lab) == 7);
  CHECK(JournalBytes(lab) > 0);
}

void CheckRefused(const RunEvalLab& lab, Process& process, const std::string& what) {
  const ProcessResult run = process.Wait();
  INFO(run.err);
  CHECK(run.exit_code == 2);
  CHECK(Contains(run.err, "rank 1 on "));
  CHECK(Contains(run.err, "would get other scores than rank 0: " + what + ": expected "));
  CHECK(CountOf(run.err, "run_eval: ") == 1);
  CHECK(RecordTexts(lab).empty());
}

TEST_CASE("mpirun: ranks that would get other scores are refused, with the rank and what differs") {
  if (!HasMpi()) return;
  const RunEvalLab lab;
  const std::string program = testing::RunEvalProgram();
  const fs::path text = Elsewhere(lab, "text");
  std::ofstream(text / "text.txt", std::ios::app) << "More.\n";
  const fs::path model = Elsewhere(lab, "weights");
  std::fstream weights(model / "model" / "model.safetensors",
                       std::ios::in | std::ios::out | std::ios::binary);
  weights.seekp(-2, std::ios::end);
  REQUIRE(weights.put('\1'));
  weights.close();
  const fs::path build = lab / "run_eval";
  fs::copy(program, build);
  std::ofstream(build, std::ios::app | std::ios::binary) << ' ';
  fs::create_symlink(testing::Program("libquantref_mpi.so"), lab / "libquantref_mpi.so");
  const std::vector<std::pair<std::string, Strings>> others = {
      {"BLAS", {"-x", "QUANTREF_FORCE_ISA=scalar", program}},
      {"the text", {"-wdir", text.string(), program}},
      {"the model's weights", {"-wdir", model.string(), program}},
      {"program", {build.string()}}};
  std::vector<std::unique_ptr<Process>> runs;  // most of their time is the launcher's
  for (const auto& [what, other] : others) runs.push_back(StartUnlike(lab, other));
  for (size_t i = 0; i < runs.size(); ++i) CheckRefused(lab, *runs[i], others[i].first);
}

TEST_CASE("mpirun: a rank that hangs is named, and so is one that fails") {
  if (!HasMpi()) return;
  const RunEvalLab lab, other;
  Process failing(MpiRun(2, {(other / "none.yaml").string()}), MpiOptions(other));
  int stopped = 0;
  const ProcessResult hung = Disturb(lab, {"--rank-timeout", "2"}, [&](const auto& ranks) {
    stopped = ranks.at(1);
    kill(stopped, SIGSTOP);
  });
  kill(stopped, SIGKILL);
  INFO(hung.err);
  CHECK(hung.exit_code == 2);
  CHECK(Contains(hung.err, "has not been heard of for 2 seconds"));
  CHECK(Contains(hung.err, "rank 1 on "));
  CHECK(CountOf(hung.err, "run_eval: ") == 1);
  const ProcessResult wrong = failing.Wait();
  INFO(wrong.err);
  CHECK(wrong.exit_code == 2);
  CHECK(Contains(wrong.err, "none.yaml"));
  CHECK(CountOf(wrong.err, "run_eval: ") == 1);
}

TEST_CASE(
    "mpirun: without it the program needs no MPI, and says what it lacks where it was left out") {
  const RunEvalLab lab;
  const ProcessResult libraries = testing::RunProcess({"/usr/bin/ldd", testing::RunEvalProgram()});
  CHECK(Contains(libraries.out, "libc.so"));
  CHECK_FALSE(Contains(libraries.out, "libmpi"));
  fs::copy(testing::RunEvalProgram(), lab / "run_eval");
  const Strings command = testing::Together({(lab / "run_eval").string()}, TinyOf(lab));
  ProcessOptions launched = lab.Options();
  launched.environment.insert({"OMPI_COMM_WORLD_SIZE", "2"});
  const ProcessResult run = testing::RunProcess(command, launched);
  CHECK(run.exit_code == 2);
  CHECK(Contains(run.err, "built without MPI"));
  CHECK(Contains(run.err, "scripts/setup --mpi"));
  launched.environment["OMPI_COMM_WORLD_SIZE"] = "1";
  CheckDone(testing::RunProcess(command, launched));
  if (!HasMpi()) return;
  const ProcessResult ranks =
      testing::RunProcess(MpiRun(testing::Together({"-n", "3"}, command)), MpiOptions(lab));
  CHECK(ranks.exit_code == 2);
  CHECK(CountOf(ranks.err, "built without MPI") == 1);  // of the machine's ranks one says so
}

}  // namespace
}  // namespace quantref
