#include "eval/cost.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "harness/base/rng.h"
#include "harness/kernels/gemm.h"

namespace quantref {
namespace {

// What of the matrix products' rate a whole forward pass keeps (measured by forward_bench; see
// harness/model/README.md).
constexpr double kForwardShare = 0.7;

Matrix<float> RandomMatrix(size_t rows, size_t cols) {
  Matrix<float> matrix(rows, cols);
  Rng rng(1);
  for (size_t i = 0; i < rows * cols; ++i) matrix.data()[i] = static_cast<float>(rng.Uniform());
  return matrix;
}

}  // namespace

double MeasureGemmRate(size_t rows, size_t size) {
  using Clock = std::chrono::steady_clock;
  const Matrix<float> a = RandomMatrix(rows, size), b = RandomMatrix(size, size);
  Matrix<float> c(rows, size);
  std::vector<double> rates;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const Clock::time_point start = Clock::now();
    MultiplyTransposed(a.view(), b.view(), c.view());
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    rates.push_back(2e-9 * static_cast<double>(rows * size * size) / seconds);
  }
  std::nth_element(rates.begin(), rates.begin() + 2, rates.end());
  return rates[2];
}

Cost EstimateCost(const Model& model, std::span<const Window> windows, size_t longest_window,
                  size_t models, size_t threads) {
  Cost cost;
  double flops = 0;
  for (const Window& window : windows)
    flops += model.config.ForwardFlops(window.length, window.scored());
  cost.gflops_a_core = MeasureGemmRate(512, 512);
  const double workers = static_cast<double>(std::min(threads, windows.size()));
  cost.seconds =
      static_cast<double>(models) * flops / (cost.gflops_a_core * 1e9 * kForwardShare * workers);

  const LlamaConfig& config = model.config;
  const size_t per_token = 3 * config.hidden + 2 * config.heads * config.head_dim +
                           2 * config.kv_heads * config.head_dim + 2 * config.intermediate +
                           kQueryTile;
  const double panel =
      4.0 * static_cast<double>(PanelRows(config.intermediate) * config.intermediate);
  const double logits = 4.0 * 128 * static_cast<double>(config.vocab);
  const double file = static_cast<double>(model.weights.checkpoint->FileBytes());
  cost.memory_bytes =
      file * (1 + 0.5 * static_cast<double>(models - 1)) +
      workers * (4.0 * static_cast<double>(per_token * longest_window) + panel + logits);
  return cost;
}

}  // namespace quantref
