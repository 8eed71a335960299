// What a step of training takes beside sgemm, interleaved, as the ratio of their rates. FLOPs are
// those that the step needs (causal halves of attention), what it computes again among them.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "harness/base/rng.h"
#include "harness/kernels/gemm.h"
#include "harness/model/config.h"
#include "harness/model/plan_model.h"
#include "harness/train/trainer.h"

namespace quantref {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsOf(const auto& work) {
  const Clock::time_point start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Of all products of a step.
double StepFlops(const ModelConfig& config, const TrainSpec& spec) {
  const double tokens = static_cast<double>(spec.length);
  double blocks = 0, downs = 0, attention = 0;
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    blocks += 2 * tokens * static_cast<double>(LayoutOf(config, layer).Weights());
    downs += 2 * tokens * static_cast<double>(config.intermediate * config.hidden);
    attention += 2 * tokens * (tokens + 1) * static_cast<double>(config.heads * config.head_dim);
  }
  const double head = 2 * tokens * static_cast<double>(config.vocab * config.hidden);
  // Forward, that again but for each block's last, two gradients, the reference; attention has five
  // products behind two; the head is not made again.
  return static_cast<double>(spec.batch) * (5 * blocks - downs + 5.5 * attention + 3 * head);
}

void Run(const std::string& name, size_t threads) {
  const std::filesystem::path dir = std::filesystem::path(QUANTREF_REFERENCE_DIR) / name;
  const ModelConfig config = ReadConfig(dir / "config.json");
  const ModelWeights weights =
      LoadWeights(config, Checkpoint::Open(dir), WeightType::kNative, threads);
  QuantizeSpec quantize;
  const std::vector<PlannedLinear> plan = PlanModel(quantize, config);
  const TrainSpec spec{};
  Team team(threads);
  Trainer trainer(config, weights, weights, plan, spec, &team);
  Rng rng(1);
  std::vector<uint32_t> ids(spec.batch * spec.length);
  for (uint32_t& id : ids) id = static_cast<uint32_t>(rng.Below(config.vocab));
  constexpr size_t kRows = 2048, kSide = 512, kRepetitions = 5;
  std::vector<Matrix<float>> a, b, c;
  for (size_t t = 0; t < threads; ++t) {
    a.emplace_back(kRows, kSide);
    b.emplace_back(kSide, kSide);
    c.emplace_back(kRows, kSide);
    std::fill_n(a[t].data(), kRows * kSide, 0.5f);
    std::fill_n(b[t].data(), kSide * kSide, 0.25f);
  }
  const auto products = [&] {
    team.Run(threads, [&](size_t t, size_t) {
      for (int i = 0; i < 8; ++i) BlasMultiplyTransposed(a[t].view(), b[t].view(), c[t].view());
    });
  };
  products();
  trainer.Step(ids);
  std::vector<double> sgemm, step;
  for (size_t i = 0; i < kRepetitions; ++i) {
    sgemm.push_back(SecondsOf(products));
    step.push_back(SecondsOf([&] { trainer.Step(ids); }));
  }
  const double product_rate =
      static_cast<double>(threads) * 8 * 2.0 * kRows * kSide * kSide / Median(sgemm);
  const double step_rate = StepFlops(config, spec) / Median(step);
  fmt::print(
      "{}, {} threads: a step of {} x {} tokens {:.2f} s, {:.1f} GFLOP/s; sgemm {}x{}x{} {:.1f}; "
      "{:.2f} of it\n",
      name, threads, spec.batch, spec.length, Median(step), step_rate / 1e9, kRows, kSide, kSide,
      product_rate / 1e9, step_rate / product_rate);
}

}  // namespace
}  // namespace quantref

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "wikilm-2m";
  quantref::Run(name, argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 2);
  return 0;
}
