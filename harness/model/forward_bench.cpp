// How fast the reference forward pass is beside OpenBLAS: forward_bench [Google Benchmark flags].
// The whole scoring of a window (forward, logits of every position, log-sum-exp) of wikilm-28m's
// shape, and our products with FP16 weights, beside OpenBLAS sgemm at M = 2048, N = K = 512 and
// 1408, interleaved at random in one run; the ratios of the medians are printed.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/rng.h"
#include "harness/bench/bench.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "harness/model/load_model.h"
#include "harness/model/transformer.h"

namespace quantref {
namespace {

constexpr size_t kTokens = 2048;

void SetRate(benchmark::State& state, double flops) {
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate,
                                               benchmark::Counter::kIs1000);
}

using Multiplication = void(MatrixView<const float>, MatrixView<const float>, MatrixView<float>);

void Multiply(benchmark::State& state, Multiplication* multiply) {
  const size_t size = static_cast<size_t>(state.range(0));
  const Matrix<float> a = bench::RandomMatrix(kTokens, size, 1),
                      b = bench::RandomMatrix(size, size, 2);
  std::transform(b.data(), b.data() + size * size, b.data(), RoundToHalf);
  Matrix<float> c(kTokens, size);
  for (auto _ : state) {
    multiply(a.view(), b.view(), c.view());
    benchmark::DoNotOptimize(c.data());
  }
  SetRate(state, 2.0 * static_cast<double>(kTokens * size * size));
}

void Sgemm(benchmark::State& state) { Multiply(state, BlasMultiplyTransposed); }

void OurProduct(benchmark::State& state) {
  Multiply(state, [](MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
    MultiplyTransposed(a, b, c);
  });
}

const Model& BundledModel() {
  static const Model model =
      LoadModel("wikilm-28m", QUANTREF_REFERENCE_DIR "/wikilm-28m", WeightType::kNative, 1);
  return model;
}

void ScoreWindow(benchmark::State& state) {
  static const Transformer transformer(BundledModel().config, BundledModel().weights, kTokens);
  std::vector<uint32_t> ids(kTokens);
  Rng rng(3);
  for (uint32_t& id : ids) id = static_cast<uint32_t>(rng.Below(transformer.config().vocab));
  Workspace work;
  constexpr size_t kTile = 512;
  Matrix<float> logits(kTile, transformer.config().vocab);
  for (auto _ : state) {
    const Matrix<float> hidden = transformer.Hidden(ids, work);
    for (size_t first = 0; first < kTokens; first += kTile) {
      transformer.Logits(hidden.view().Rows(first, kTile), logits.view(), work);
      for (size_t t = 0; t < kTile; ++t) {
        benchmark::DoNotOptimize(Ops().log_sum_exp(logits.row(t), logits.cols(), nullptr));
      }
    }
  }
  SetRate(state, transformer.config().ForwardFlops(kTokens, kTokens));
}

void PrintRatios(const bench::MedianReporter& reporter) {
  for (const size_t threads : {size_t{1}, size_t{2}}) {
    const std::string suffix = threads == 1 ? "" : fmt::format("/threads:{}", threads);
    const auto rate = [&](const std::string& name) {
      return reporter.MedianCounter(name + suffix, "flops");
    };
    const double forward = rate("ScoreWindow");
    if (forward == 0) continue;
    for (const std::string size : {"512", "1408"}) {
      const double sgemm = rate("Sgemm/" + size), ours = rate("OurProduct/" + size);
      if (sgemm == 0) continue;
      fmt::print(
          "{} thread(s), {}: sgemm 2048x{}x{} {:.1f} GFLOP/s; our product {:.2f} times as "
          "fast, window scoring {:.2f}\n",
          threads, IsaName(ActiveIsa()), size, size, sgemm / 1e9, ours / sgemm, forward / sgemm);
    }
  }
}

BENCHMARK(Sgemm)->Arg(512)->Arg(1408)->Threads(1)->Threads(2)->UseRealTime()->Unit(
    benchmark::kMillisecond);
BENCHMARK(OurProduct)
    ->Arg(512)
    ->Arg(1408)
    ->Threads(1)
    ->Threads(2)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(ScoreWindow)->Threads(1)->Threads(2)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) {
  quantref::bench::MedianReporter reporter(quantref::PrintRatios);
  return quantref::bench::Guarded("forward_bench", [&] {
    return quantref::bench::RunBenchmarks(argc, argv, {"--benchmark_repetitions=7"}, reporter);
  });
}
