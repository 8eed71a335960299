// How fast the reference forward pass is beside OpenBLAS: forward_bench [Google Benchmark flags].
// The whole scoring of a window (forward, logits of every position, log-sum-exp) of wikilm-28m's
// shape, and our products with FP16 weights, beside OpenBLAS sgemm at M = 2048, N = K = 512 and
// 1408, interleaved at random in one run; the ratios of the medians are printed.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <thread>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/rng.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "harness/model/llama.h"

namespace quantref {
namespace {

constexpr size_t kTokens = 2048;

Matrix<float> RandomMatrix(size_t rows, size_t cols, uint64_t seed) {
  Matrix<float> matrix(rows, cols);
  Rng rng(seed);
  for (size_t i = 0; i < rows * cols; ++i) matrix.data()[i] = static_cast<float>(rng.Normal());
  return matrix;
}

void SetRate(benchmark::State& state, double flops) {
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate,
                                               benchmark::Counter::kIs1000);
}

using Multiplication = void(MatrixView<const float>, MatrixView<const float>, MatrixView<float>);

void Multiply(benchmark::State& state, Multiplication* multiply) {
  const size_t size = static_cast<size_t>(state.range(0));
  const Matrix<float> a = RandomMatrix(kTokens, size, 1), b = RandomMatrix(size, size, 2);
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
  constexpr size_t kTile = 128;
  Matrix<float> logits(kTile, transformer.config().vocab);
  for (auto _ : state) {
    const Matrix<float> hidden = transformer.Hidden(ids, work);
    for (size_t first = 0; first < kTokens; first += kTile) {
      transformer.Logits(hidden.view().Rows(first, kTile), logits.view(), work);
      for (size_t t = 0; t < kTile; ++t) {
        benchmark::DoNotOptimize(Ops().log_sum_exp(logits.row(t), logits.cols()));
      }
    }
  }
  SetRate(state, transformer.config().ForwardFlops(kTokens, kTokens));
}

// The console table, and behind it the ratios.
class RatioReporter : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Iteration && run.counters.contains("flops")) {
        rates_[run.benchmark_name().substr(0, run.benchmark_name().find("/process"))].push_back(
            run.counters.at("flops"));
      }
    }
  }
  void Finalize() override {
    for (size_t threads : {size_t{1}, size_t{2}}) {
      const std::string suffix = fmt::format("/real_time/threads:{}", threads);
      const double forward = Median("ScoreWindow" + suffix);
      if (forward == 0) continue;
      for (const char* size : {"512", "1408"}) {
        const double sgemm = Median(std::string("Sgemm/") + size + suffix);
        if (sgemm == 0) continue;
        const double ours = Median(std::string("OurProduct/") + size + suffix);
        fmt::print(
            "{} thread(s), {}: sgemm 2048x{}x{} {:.1f} GFLOP/s; our product {:.2f} times as "
            "fast, window scoring {:.2f}\n",
            threads, IsaName(ActiveIsa()), size, size, sgemm / 1e9, ours / sgemm, forward / sgemm);
      }
    }
  }

 private:
  double Median(const std::string& name) {
    std::vector<double>& rates = rates_[name];
    if (rates.empty()) return 0;
    std::sort(rates.begin(), rates.end());
    return rates[rates.size() / 2];
  }
  std::map<std::string, std::vector<double>> rates_;
};

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
  std::vector<char*> arguments(argv, argv + argc);
  const auto add_default = [&](const char* flag, char* with_value) {
    const bool given = std::any_of(argv, argv + argc,
                                   [&](const char* a) { return std::strstr(a, flag) != nullptr; });
    if (!given) arguments.push_back(with_value);
  };
  static char repetitions[] = "--benchmark_repetitions=7",
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
