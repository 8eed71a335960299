#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/testing/process.h"
#include "harness/testing/testing.h"

namespace quantref::testing {

using RecordJson = nlohmann::ordered_json;

// The program run_eval in a folder of its own, on a machine without data sets and network: with a
// tiny model, a text and a config that measures the one on the other in well under a second.
class RunEvalLab {
 public:
  RunEvalLab();

  const std::filesystem::path& path() const { return dir_.path(); }
  std::filesystem::path operator/(std::string_view name) const { return dir_ / name; }

  // The config's path. Its text is ConfigText().
  std::string config() const { return (dir_ / "tiny.yaml").string(); }
  std::string ConfigText(const std::string& name) const;

  // Runs it in this folder; records go to records() by default.
  ProcessResult Run(const std::vector<std::string>& arguments, ProcessOptions options = {}) const;
  // The same, for tests that watch or interrupt it.
  std::vector<std::string> Command(const std::vector<std::string>& arguments) const;
  ProcessOptions Options(ProcessOptions options = {}) const;

  std::filesystem::path records() const { return dir_ / "results/records"; }
  std::vector<std::string> RecordFiles() const;  // names of all files there, sorted
  bool WaitForWindows() const;                   // of a run whose records stand there
  // The only record of that method, of the reference by any of its names; fails the test where
  // there are several or none.
  RecordJson Record(const std::string& method) const;

 private:
  TempDir dir_;
};

// The note of a candidate's record that has this part, as JSON; "" where none has it.
std::string NoteOf(const RecordJson& record, const std::string& part);

// These arguments and more.
std::vector<std::string> Together(std::vector<std::string> arguments,
                                  const std::vector<std::string>& more);

// The arguments for so many windows of the smoke config on one thread, without a stopwatch, and
// more.
std::vector<std::string> SmokeArguments(size_t windows, const std::vector<std::string>& more = {});

// Waits until a journal in the folder holds the first windows; false after a minute.
bool WaitForWindows(const std::filesystem::path& folder);

// Of --set: a stopwatch for moments.
inline constexpr char kQuickThroughput[] =
    "throughput={standard_shapes: false, tokens: [1, 3], prefill: 16, decode: 4, repetitions: 2}";

// Fails the test where the program did not end well, and says what it wrote.
void CheckDone(const ProcessResult& result);

// The programs as they were built.
std::string RunEvalProgram();
std::string Program(const std::string& name);  // that stands beside it

}  // namespace quantref::testing
