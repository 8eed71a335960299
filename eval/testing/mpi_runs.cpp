#include "eval/testing/mpi_runs.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <system_error>
#include <thread>

namespace quantref::testing {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

namespace {

constexpr char kSeveralCells[] =
    "quantize={methods: [rtn, gptq, awq], weights: {bits: 4, group: 16}}";

}  // namespace

bool HasMpi() {
  const bool has =
      fs::exists(Program("libquantref_mpi.so")) && std::system("command -v mpirun >/dev/null") == 0;
#ifdef QUANTREF_NEEDS_MPI
  REQUIRE(has);
#endif
  if (!has) WARN("no MPI here (scripts/setup --mpi): runs of several processes are not tested");
  return has;
}

Strings MpiRun(const Strings& ranks_and_programs, const char* grace) {
  // By the system's PATH. Containers often refuse that processes read each other's memory.
  return Together({"/usr/bin/env", "mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "btl",
                   "self,vader", "--mca", "btl_vader_single_copy_mechanism", "none", "--mca",
                   "odls_base_sigkill_timeout", grace},
                  ranks_and_programs);
}

Strings MpiRun(size_t ranks, const Strings& arguments) {
  return MpiRun(Together({"-n", std::to_string(ranks), RunEvalProgram()}, arguments));
}

ProcessOptions MpiOptions(const RunEvalLab& lab) {
  ProcessOptions options = lab.Options();
  options.environment.insert({"OMPI_ALLOW_RUN_AS_ROOT", "1"});
  options.environment.insert({"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"});
  return options;
}

ProcessResult RunRanks(const RunEvalLab& lab, size_t ranks, const Strings& arguments) {
  return RunProcess(MpiRun(ranks, arguments), MpiOptions(lab));
}

Strings TinyOf(const RunEvalLab& lab, const Strings& more) {
  return Together({lab.config(), "--set", kSeveralCells, "--set",
                   "calibration={dataset: sample, split: validation, samples: 2, length: 64}"},
                  more);
}

size_t CountOf(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1))
    ++count;
  return count;
}

std::map<int, int> RanksOf(const RunEvalLab& lab) {
  constexpr std::string_view kRank = "OMPI_COMM_WORLD_RANK=";
  std::map<int, int> found;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "environ", std::ios::binary);
    const std::string environment((std::istreambuf_iterator<char>(file)), {});
    const size_t rank = environment.find(kRank);
    if (rank == std::string::npos || !Contains(environment, (lab / "home").string())) continue;
    found[std::atoi(environment.c_str() + rank + kRank.size())] = std::stoi(name);
  }
  return found;
}

Strings SevenModels(size_t windows, const Strings& more) {
  return SmokeArguments(
      windows,
      Together({"--set", "accuracy.protocol=llamacpp-64", "--set",
                "quantize.methods=[rtn, {method: rtn, label: b}, {method: rtn, label: "
                "c}, {method: rtn, label: d}, {method: rtn, label: e}, {method: rtn, label: f}]"},
               more));
}

uintmax_t JournalBytes(const RunEvalLab& lab) {
  for (const std::string& name : lab.RecordFiles()) {
    std::error_code gone;
    const uintmax_t bytes = fs::file_size(lab.records() / name, gone);
    if (name.starts_with(".journal-") && !gone) return bytes;
  }
  return 0;
}

bool WaitForMore(const RunEvalLab& lab, uintmax_t bytes) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (std::chrono::steady_clock::now() < end) {
    if (JournalBytes(lab) > bytes) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

std::unique_ptr<Process> StartUnlike(const RunEvalLab& lab, const Strings& other_program) {
  Strings command = {"-n", "1", RunEvalProgram()};
  command = Together(Together(command, TinyOf(lab)), {":", "-n", "1"});
  command = Together(Together(command, other_program), TinyOf(lab));
  return std::make_unique<Process>(MpiRun(command), MpiOptions(lab));
}

fs::path Elsewhere(const RunEvalLab& lab, const std::string& name) {
  fs::create_directory(lab / name);
  fs::copy(lab / "model", lab / name / "model");
  fs::copy(lab / "text.txt", lab / name / "text.txt");
  return lab / name;
}

}  // namespace quantref::testing
