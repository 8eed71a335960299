// Runs of several processes: the records of one, to the byte, whatever happens on the way.

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "eval/testing/same_records.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CheckDone;
using testing::Contains;
using testing::Process;
using testing::ProcessOptions;
using testing::ProcessResult;
using testing::RecordTexts;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

// False, and says so, where this build or this machine has no MPI, which a build that was told to
// have it must.
bool HasMpi() {
  const bool has = fs::exists(testing::Program("libquantref_mpi.so")) &&
                   std::system("command -v mpirun >/dev/null") == 0;
#ifdef QUANTREF_NEEDS_MPI
  REQUIRE(has);
#endif
  if (!has) WARN("no MPI here (scripts/setup --mpi): runs of several processes are not tested");
  return has;
}

// On this machine, however few cores it has. What goes between mpirun's options and programs.
Strings MpiRun(const Strings& ranks_and_programs) {
  // By the system's PATH. Containers often refuse that processes read each other's memory.
  return testing::Together(
      {"/usr/bin/env", "mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "btl",
       "self,vader", "--mca", "btl_vader_single_copy_mechanism", "none"},
      ranks_and_programs);
}

Strings MpiRun(size_t ranks, const Strings& arguments) {
  return MpiRun(
      testing::Together({"-n", std::to_string(ranks), testing::RunEvalProgram()}, arguments));
}

ProcessOptions MpiOptions(const RunEvalLab& lab) {
  ProcessOptions options = lab.Options();
  options.environment.insert({"OMPI_ALLOW_RUN_AS_ROOT", "1"});
  options.environment.insert({"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"});
  return options;
}

ProcessResult RunRanks(const RunEvalLab& lab, size_t ranks, const Strings& arguments) {
  return testing::RunProcess(MpiRun(ranks, arguments), MpiOptions(lab));
}

constexpr char kSeveralCells[] =
    "quantize={methods: [rtn, gptq, awq], weights: {bits: 4, group: 16}}";

Strings TinyOf(const RunEvalLab& lab, const Strings& more = {}) {
  return testing::Together(
      {lab.config(), "--set", kSeveralCells, "--set",
       "calibration={dataset: sample, split: validation, samples: 2, length: 64}"},
      more);
}

size_t CountOf(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1))
    ++count;
  return count;
}

// Process ids of the ranks beside the first, of runs whose records go to this lab.
std::vector<int> OtherRanks(const RunEvalLab& lab) {
  std::vector<int> found;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "environ", std::ios::binary);
    const std::string environment((std::istreambuf_iterator<char>(file)), {});
    const bool of_lab = Contains(environment, (lab / "home").string());
    if (of_lab && Contains(environment, "OMPI_COMM_WORLD_RANK=1")) found.push_back(std::stoi(name));
  }
  return found;
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
      10, {"--set", "accuracy.stop={delta_nll_halfwidth: 1, min_windows: 8}"});
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

TEST_CASE("mpirun: a rank that is killed loses no finished window, whoever goes on") {
  if (!HasMpi()) return;
  const RunEvalLab lab;
  const Strings smoke = testing::SmokeArguments(12);
  CheckDone(lab.Run(smoke));
  const auto whole = RecordTexts(lab);
  fs::remove_all(lab.records());
  {
    Process process(MpiRun(2, smoke), MpiOptions(lab));
    REQUIRE(lab.WaitForWindows());
    const std::vector<int> others = OtherRanks(lab);
    REQUIRE_FALSE(others.empty());
    for (const int rank : others) kill(rank, SIGKILL);
    const ProcessResult killed = process.Wait();
    INFO(killed.err);
    CHECK(killed.exit_code != 0);
    CHECK(Contains(killed.err, "signal 9"));
  }
  const ProcessResult resumed = RunRanks(lab, 3, testing::Together(smoke, {"--resume"}));
  CheckDone(resumed);
  CHECK(RecordTexts(lab) == whole);
}

// One rank as ever, and one that mpirun starts in another way.
void CheckRefused(const RunEvalLab& lab, const Strings& other_program, const std::string& what) {
  Strings command = {"-n", "1", testing::RunEvalProgram()};
  command = testing::Together(testing::Together(command, TinyOf(lab)), {":", "-n", "1"});
  command = testing::Together(testing::Together(command, other_program), TinyOf(lab));
  const ProcessResult run = testing::RunProcess(MpiRun(command), MpiOptions(lab));
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
  CheckRefused(lab, {"-x", "QUANTREF_FORCE_ISA=scalar", program}, "BLAS");
  // Where paths lead elsewhere.
  const auto elsewhere = [&](const std::string& name) {
    fs::create_directory(lab / name);
    fs::copy(lab / "model", lab / name / "model");
    fs::copy(lab / "text.txt", lab / name / "text.txt");
    return lab / name;
  };
  const fs::path text = elsewhere("text");
  std::ofstream(text / "text.txt", std::ios::app) << "More.\n";
  CheckRefused(lab, {"-wdir", text.string(), program}, "the text");
  const fs::path model = elsewhere("weights");
  std::fstream weights(model / "model" / "model.safetensors",
                       std::ios::in | std::ios::out | std::ios::binary);
  weights.seekp(-2, std::ios::end);
  REQUIRE(weights.put('\1'));
  weights.close();
  CheckRefused(lab, {"-wdir", model.string(), program}, "the model's weights");
  const fs::path build = lab / "run_eval";
  fs::copy(program, build);
  std::ofstream(build, std::ios::app | std::ios::binary) << ' ';
  fs::create_symlink(testing::Program("libquantref_mpi.so"), lab / "libquantref_mpi.so");
  CheckRefused(lab, {build.string()}, "program");
}

TEST_CASE("mpirun: a rank that hangs is named, and so is one that fails") {
  if (!HasMpi()) return;
  const RunEvalLab lab;
  {
    Process process(MpiRun(2, testing::SmokeArguments(200, {"--rank-timeout", "2"})),
                    MpiOptions(lab));
    REQUIRE(lab.WaitForWindows());
    const std::vector<int> others = OtherRanks(lab);
    for (const int rank : others) kill(rank, SIGSTOP);
    const ProcessResult hung = process.Wait();
    for (const int rank : others) kill(rank, SIGKILL);
    INFO(hung.err);
    CHECK(hung.exit_code == 2);
    CHECK(Contains(hung.err, "has not been heard of for 2 seconds"));
    CHECK(Contains(hung.err, "rank 1 on "));
    CHECK(CountOf(hung.err, "run_eval: ") == 1);
  }
  const ProcessResult wrong = RunRanks(lab, 2, {(lab / "none.yaml").string()});
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
}

}  // namespace
}  // namespace quantref
