#include "harness/bench/bench.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include "harness/base/rng.h"

namespace quantref::bench {
namespace {

constexpr char kSeconds[] = "seconds";

// "Sgemm/512/iterations:1/real_time/threads:2" -> "Sgemm/512/threads:2"; "/threads:1" goes too.
std::string PlainName(std::string name) {
  for (const char* part : {"/process_time", "/real_time", "/manual_time", "/threads:1"}) {
    const size_t at = name.find(part);
    const size_t end = at + std::strlen(part);
    if (at != std::string::npos && (end == name.size() || name[end] == '/'))
      name.erase(at, end - at);
  }
  for (const char* part : {"/iterations:", "/min_time:", "/repeats:"}) {
    const size_t at = name.find(part);
    if (at != std::string::npos) name.erase(at, name.find('/', at + 1) - at);
  }
  return name;
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

Matrix<float> RandomMatrix(size_t rows, size_t cols, uint64_t seed) {
  Matrix<float> matrix(rows, cols);
  Rng rng(seed);
  for (size_t i = 0; i < rows * cols; ++i) matrix.data()[i] = static_cast<float>(rng.Normal());
  return matrix;
}

MedianReporter::MedianReporter(std::function<void(const MedianReporter&)> at_end)
    : ConsoleReporter(isatty(STDOUT_FILENO) == 1 ? OO_ColorTabular : OO_Tabular),
      at_end_(std::move(at_end)) {}

void MedianReporter::ReportRuns(const std::vector<Run>& runs) {
  std::vector<Run> shown;
  for (const Run& run : runs) {
    const bool aggregate = run.run_type == Run::RT_Aggregate;
    if (aggregate ? run.aggregate_name == "median" || run.aggregate_name == "cv"
                  : run.repetitions <= 1 || run.error_occurred)
      shown.push_back(run);
    if (aggregate || run.error_occurred) continue;
    auto& values = values_[PlainName(run.benchmark_name())];
    values[kSeconds].push_back(run.real_accumulated_time / static_cast<double>(run.iterations));
    for (const auto& [counter, value] : run.counters) values[counter].push_back(value);
  }
  if (!shown.empty()) ConsoleReporter::ReportRuns(shown);
}

double MedianReporter::MedianSeconds(const std::string& name) const {
  return MedianCounter(name, kSeconds);
}

double MedianReporter::MedianCounter(const std::string& name, const std::string& counter) const {
  const auto values = values_.find(name);
  if (values == values_.end()) return 0;
  const auto found = values->second.find(counter);
  return found == values->second.end() ? 0 : Median(found->second);
}

bool GivesFlag(int argc, char** argv, const std::string& flag) {
  return std::any_of(argv + 1, argv + argc,
                     [&](const char* given) { return std::string(given).starts_with(flag); });
}

int Guarded(const char* program, const std::function<int()>& run) {
  constexpr int kWrongInput = 2;
  try {
    return run();
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: out of memory\n  hint: free some, or raise its limits (ulimit -v)\n",
                 program);
    return kWrongInput;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program, error.what());
    return kWrongInput;
  }
}

int RunBenchmarks(int argc, char** argv, DefaultFlags defaults, MedianReporter& reporter) {
  std::vector<std::string> arguments(argv, argv + argc);
  const auto add_default = [&](const std::string& flag) {
    if (!GivesFlag(argc, argv, flag.substr(0, flag.find('=')))) arguments.push_back(flag);
  };
  add_default("--benchmark_enable_random_interleaving=true");
  for (const char* flag : defaults) add_default(flag);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  return 0;
}

}  // namespace quantref::bench
