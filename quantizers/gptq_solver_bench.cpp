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

#include "harness/bench/bench.h"
#include "harness/kernels/gemm.h"
#include "harness/quant/grid.h"
#include "quantizers/gptq_solver.h"

namespace quantref {
namespace {

constexpr size_t kRows = 4096, kCols = 4096, kTokens = 6144;
constexpr double kDamp = 0.01;

// Of inputs whose channels share a common part and differ in size.
const Matrix<double>& Gram() {
  static const Matrix<double> gram = [] {
    Matrix<float> x = bench::RandomMatrix(kTokens, kCols, 1), products(kCols, kCols);
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
  const Matrix<float> a = bench::RandomMatrix(kRows, kCols / 2, 2);
  const Matrix<float> b = bench::RandomMatrix(kCols, kCols / 2, 3);
  Matrix<float> c(kRows, kCols);
  for (auto _ : state) {
    BlasMultiplyTransposed(a.view(), b.view(), c.view());
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
  static const Matrix<float> weights = bench::RandomMatrix(kRows, kCols, 5);
  static const GptqFactor factor = Factorize(Gram().view(), kDamp, true);
  for (auto _ : state) {
    PackedMatrix packed(kRows, kCols, {.bits = 4, .group = 128});
    ChooseGrids(weights.view(), {}, packed);
    GptqSolve(weights.view(), {}, factor, {}, packed);
    benchmark::DoNotOptimize(packed.packed_row(0));
  }
}

void PrintRatios(const bench::MedianReporter& reporter) {
  const double sgemm = reporter.MedianSeconds("Sgemm"), solve = reporter.MedianSeconds("Solve");
  const double factorize = reporter.MedianSeconds("FactorizeGram");
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

BENCHMARK(Sgemm)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(FactorizeGram)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Solve)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) {
  quantref::bench::MedianReporter reporter(quantref::PrintRatios);
  return quantref::bench::RunBenchmarks(argc, argv, {"--benchmark_repetitions=5"}, reporter);
}
