// What GPTQ costs beside a matrix product: gptq_solver_bench [Google Benchmark flags]. One 4096 x
// 4096 layer in int4 g128 with act_order, on one thread: Solve (grids, rounding and all updates)
// and Factorize (Cholesky factor and its inverse, double), beside OpenBLAS sgemm of as many
// operations as the updates of Solve take: rows * cols * (cols - 1) / 2 multiply-adds, so M = rows,
// N = cols, K = cols / 2. Interleaved at random in one run; the ratios of the median times are
// printed.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "harness/base/rng.h"
#include "harness/kernels/gemm.h"
#include "harness/quant/affine.h"
#include "quantizers/gptq_solver.h"

namespace quantref {
namespace {

constexpr size_t kRows = 4096, kCols = 4096, kTokens = 6144;
constexpr double kDamp = 0.01;

Matrix<float> RandomMatrix(size_t rows, size_t cols, uint64_t seed) {
  Matrix<float> matrix(rows, cols);
  Rng rng(seed);
  for (size_t i = 0; i < rows * cols; ++i) matrix.data()[i] = static_cast<float>(rng.Normal());
  return matrix;
}

// Of inputs whose channels share a common part and differ in size.
const Matrix<double>& Gram() {
  static const Matrix<double> gram = [] {
    Matrix<float> x = RandomMatrix(kTokens, kCols, 1), products(kCols, kCols);
    for (size_t t = 0; t < kTokens; ++t) {
      for (size_t j = 1; j < kCols; ++j) {
        x(t, j) = (x(t, j) + 0.5f * x(t, 0)) / std::sqrt(1.0f + static_cast<float>(j % 64));
      }
    }
    MultiplyFirstTransposed(x.view(), x.view(), products.view());
    Matrix<double> sums(kCols, kCols);
    for (size_t i = 0; i < kCols; ++i) {
      for (size_t j = 0; j < kCols; ++j) {
        sums(i, j) = static_cast<double>(products(std::max(i, j), std::min(i, j)));
      }
    }
    return sums;
  }();
  return gram;
}

void Sgemm(benchmark::State& state) {
  const Matrix<float> a = RandomMatrix(kRows, kCols / 2, 2), b = RandomMatrix(kCols / 2, kCols, 3);
  Matrix<float> c = RandomMatrix(kRows, kCols, 4);
  for (auto _ : state) {
    SubtractProduct(a.view(), b.view(), c.view());
    benchmark::DoNotOptimize(c.data());
  }
}

void FactorizeGram(benchmark::State& state) {
  Gram();
  for (auto _ : state) {
    benchmark::DoNotOptimize(Factorize(Gram().view(), kDamp, true).ratios.data());
  }
}

void Solve(benchmark::State& state) {
  static const Matrix<float> weights = RandomMatrix(kRows, kCols, 5);
  static const GptqFactor factor = Factorize(Gram().view(), kDamp, true);
  for (auto _ : state) {
    PackedMatrix packed(kRows, kCols, {.bits = 4, .group = 128});
    ChooseGrids(weights.view(), {}, packed);
    GptqSolve(weights.view(), {}, factor, {}, packed);
    benchmark::DoNotOptimize(packed.packed_row(0));
  }
}

// The console table, and behind it the ratios.
class RatioReporter : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration) continue;
      const std::string name = run.benchmark_name();
      seconds_[name.substr(0, name.find('/'))].push_back(run.real_accumulated_time /
                                                         static_cast<double>(run.iterations));
    }
  }
  void Finalize() override {
    const double sgemm = Median("Sgemm"), solve = Median("Solve");
    const double factorize = Median("FactorizeGram");
    if (sgemm == 0 || solve == 0 || factorize == 0) return;
    // n^3 / 3 operations each for the factor and its inverse, beside rows * n^2 of the updates.
    const double operations = 1 + 2.0 / 3 * kCols / kRows;
    fmt::print("sgemm {:.2f} s ({:.1f} GFLOP/s), solver {:.2f} s: ratio {:.2f}\n", sgemm,
               2e-9 * kRows * kCols * (kCols / 2) / sgemm, solve, solve / sgemm);
    fmt::print(
        "with the factorization ({:.2f} s): ratio {:.2f}, to sgemm of the operations of "
        "both {:.2f}\n",
        factorize, (solve + factorize) / sgemm, (solve + factorize) / sgemm / operations);
  }

 private:
  double Median(const std::string& name) {
    std::vector<double>& seconds = seconds_[name];
    if (seconds.empty()) return 0;
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
  }
  std::map<std::string, std::vector<double>> seconds_;
};

BENCHMARK(Sgemm)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(FactorizeGram)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Solve)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  const auto add_default = [&](const char* flag, char* with_value) {
    const bool given = std::any_of(argv, argv + argc,
                                   [&](const char* a) { return std::strstr(a, flag) != nullptr; });
    if (!given) arguments.push_back(with_value);
  };
  static char repetitions[] = "--benchmark_repetitions=5",
              interleaving[] = "--benchmark_enable_random_interleaving=true";
  add_default("repetitions", repetitions);
  add_default("interleaving", interleaving);
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  quantref::RatioReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  return 0;
}
