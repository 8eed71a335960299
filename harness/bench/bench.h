#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "harness/base/matrix.h"

// What benchmarks share; only *_bench.cpp files link it.

namespace quantref::bench {

// Independent normal numbers.
Matrix<float> RandomMatrix(size_t rows, size_t cols, uint64_t seed);

// The console table, of several repetitions only the median and the spread; and the values of every
// repetition, for what is printed behind it.
class MedianReporter : public benchmark::ConsoleReporter {
 public:
  // at_end is called once behind the table.
  explicit MedianReporter(std::function<void(const MedianReporter&)> at_end);
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override { at_end_(*this); }

  // Of the benchmark's repetitions; 0 where it did not run. name: without what Google Benchmark
  // adds for its own settings ("/process_time", "/iterations:1", ..), with "/threads:N".
  double MedianSeconds(const std::string& name) const;  // real time
  double MedianCounter(const std::string& name,
                       const std::string& counter) const;  // of all threads

 private:
  std::function<void(const MedianReporter&)> at_end_;
  std::map<std::string, std::map<std::string, std::vector<double>>> values_;
};

// A flag, "--benchmark_repetitions=7", that holds where the user gave no other value.
using DefaultFlags = std::initializer_list<const char*>;
bool GivesFlag(int argc, char** argv, const std::string& flag);  // "--benchmark_filter"

// run(), or the message of what it throws on stderr and the exit code that says so.
int Guarded(const char* program, const std::function<int()>& run);

// Google Benchmark's main: repetitions are interleaved in random order unless the user says
// otherwise. The exit code.
int RunBenchmarks(int argc, char** argv, DefaultFlags defaults, MedianReporter& reporter);

}  // namespace quantref::bench
