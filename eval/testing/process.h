#pragma once

#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace quantref::testing {

struct ProcessOptions {
  // Set in the child's environment, or removed from it where there is no value. The rest is this
  // process's own, but for COLUMNS and variables that begin with QUANTREF_: tests say what they
  // mean.
  std::map<std::string, std::optional<std::string>> environment{};
  std::filesystem::path folder{};               // to run in; "" = this process's
  std::optional<size_t> file_size_limit{};      // RLIMIT_FSIZE, bytes: a disk that is full early
  std::optional<size_t> address_space_limit{};  // RLIMIT_AS, bytes
  std::filesystem::path standard_output{}, standard_error{};  // written there, not collected
  std::vector<int> closed{};                                  // of the three standard descriptors
  std::chrono::seconds timeout{120};                          // then the child is killed
};

struct ProcessResult {
  int exit_code = -1;  // -1: killed by a signal
  int signal = 0;      // that killed it
  bool timed_out = false;
  double work = 0;  // seconds of cores that it used
  std::string out, err;
};

// A program that runs beside the test. Its destructor kills it.
class Process {
 public:
  // arguments[0]: the program's path. Throws std::system_error where it cannot be started.
  Process(const std::vector<std::string>& arguments, const ProcessOptions& options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Waits until stderr has the text; false where the program ends or time runs out before.
  bool WaitForError(const std::string& text);
  // Seconds of cores that it has used, however busy the machine is; nothing once it has ended.
  std::optional<double> Work() const;
  void WaitForWork(double seconds);  // until it has used so many, or has ended
  void Signal(int signal);
  ProcessResult Wait();  // for the end

 private:
  using Clock = std::chrono::steady_clock;
  bool Collect();  // what the pipes have now, waiting for some; false at their end or the deadline

  int pid_ = -1, out_ = -1, err_ = -1;
  Clock::time_point deadline_;
  ProcessResult result_;
};

ProcessResult RunProcess(const std::vector<std::string>& arguments,
                         const ProcessOptions& options = {});

}  // namespace quantref::testing
