#include "eval/speed.h"

#include <algorithm>
#include <cmath>

#include "eval/progress_bar.h"
#include "harness/base/cancel.h"
#include "harness/model/llama.h"

namespace quantref {
namespace {

constexpr double kMostDrift = 0.1;  // of the free cores, between before and after

// The cells of one spec, measured together.
void MeasureOne(const LlamaConfig& config, const ModelWeights* reference,
                std::span<const SpeedCell> cells, const ThroughputSpec& spec, bool quiet,
                RunEta& eta, std::vector<std::optional<CellSpeed>>& speeds) {
  constexpr size_t kNoWindows = 1;  // what is timed makes its own for as many tokens as it needs
  std::vector<Transformer> transformers;
  std::vector<std::string> labels;
  if (reference != nullptr) {
    transformers.emplace_back(config, *reference, kNoWindows);
    labels.emplace_back("fp16");
  }
  for (size_t i = 0; i < cells.size(); ++i) {
    if (*cells[i].spec != spec) continue;
    if (cells[i].weights == nullptr) {
      if (reference != nullptr) speeds[i] = CellSpeed{nullptr, 0, true};
      continue;
    }
    speeds[i] = CellSpeed{nullptr, transformers.size(), reference != nullptr};
    transformers.emplace_back(config, *cells[i].weights, kNoWindows);
    labels.push_back(cells[i].label);
  }
  if (transformers.empty()) return;
  std::vector<ThroughputModel> models;
  for (size_t i = 0; i < transformers.size(); ++i) models.push_back({labels[i], &transformers[i]});
  ProgressBar bar("throughput", quiet, eta, RunEta::Kind::kSpeed);
  const auto run = std::make_shared<const Throughput>(
      MeasureThroughput(models, spec, [&](size_t done, size_t total, std::string_view what) {
        ThrowIfCancelled();
        bar.Update(done, total, what);
      }));
  for (size_t i = 0; i < cells.size(); ++i) {
    if (speeds[i] && *cells[i].spec == spec) speeds[i]->run = run;
  }
}

}  // namespace

std::vector<std::optional<CellSpeed>> MeasureSpeeds(const LlamaConfig& config,
                                                    const ModelWeights* reference,
                                                    std::span<const SpeedCell> cells, bool quiet,
                                                    RunEta& eta) {
  std::vector<std::optional<CellSpeed>> speeds(cells.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    const bool seen = std::any_of(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(i),
                                  [&](const SpeedCell& c) { return *c.spec == *cells[i].spec; });
    if (cells[i].spec->measure && !seen)
      MeasureOne(config, reference, cells, *cells[i].spec, quiet, eta, speeds);
  }
  return speeds;
}

Samples TokenRates(const ModelTiming& timing) {
  Samples rates;
  for (const double seconds : timing.samples.seconds)
    rates.seconds.push_back(static_cast<double>(timing.tokens) / seconds);
  return rates;
}

const ModelTiming* SameTiming(const std::vector<ModelTiming>& timings, const ModelTiming& like) {
  for (const ModelTiming& timing : timings) {
    if (timing.tokens == like.tokens && timing.threads == like.threads) return &timing;
  }
  return nullptr;
}

bool Busy(const FreeCores& cores, size_t threads) {
  if (threads >= 2 && !cores.Two()) return true;
  return std::abs(cores.after - cores.before) > kMostDrift * cores.before;
}

bool Busy(const CellSpeed& speed) {
  size_t threads = 0;
  for (const KernelTiming& timing : speed.own().kernels)
    threads = std::max(threads, timing.threads);
  for (const auto* timings : {&speed.own().prefill, &speed.own().decode}) {
    for (const ModelTiming& timing : *timings) threads = std::max(threads, timing.threads);
  }
  return threads > 0 && Busy(speed.run->cores, threads);
}

}  // namespace quantref
