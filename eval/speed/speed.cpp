#include "eval/speed/speed.h"

#include <algorithm>
#include <cmath>

#include "eval/accuracy/reference_name.h"
#include "eval/accuracy/transformer_subject.h"
#include "eval/record/reference.h"
#include "eval/support/progress_bar.h"
#include "harness/base/cancel.h"
#include "harness/model/synthetic.h"

namespace quantref {
namespace {

// A model of the reference's shapes with random FP16 weights.
SyntheticWeights Fp16Copy(const ModelConfig& config, const ModelWeights& reference,
                          size_t threads) {
  constexpr uint64_t kSeed = 0;
  SyntheticWeights copy =
      MakeSyntheticReference(config, MakeSyntheticFrame(config, kSeed, threads), kSeed, threads);
  for (size_t b = 0; b < copy.weights.blocks.size(); ++b) {
    for (size_t i = 0; i < kLinears; ++i)
      copy.weights.blocks[b].linears[i].bias = reference.blocks[b].linears[i].bias;
  }
  return copy;
}

// What cells are timed beside.
struct Yardsticks {
  const ModelWeights* reference;  // nullptr: there is none
  SyntheticWeights fp16;          // of its shapes, where it is something else
};

// The cells of one spec, measured together.
void MeasureOne(const ModelConfig& config, const Yardsticks& yardsticks,
                std::span<const SpeedCell> cells, const ThroughputSpec& spec, bool quiet,
                RunEta& eta, std::vector<std::optional<CellSpeed>>& speeds) {
  constexpr size_t kNoWindows = 1;  // what is timed makes its own for as many tokens as it needs
  std::vector<Transformer> transformers;
  std::vector<std::string> labels;
  std::optional<size_t> fp16;
  const auto add = [&](const ModelWeights& weights, const std::string& label,
                       const ModelConfig* shape = nullptr) {
    transformers.emplace_back(shape == nullptr ? config : *shape, weights, kNoWindows);
    labels.push_back(label);
    return transformers.size() - 1;
  };
  if (yardsticks.reference != nullptr) {
    fp16 = add(*yardsticks.reference, ReferenceName(*yardsticks.reference));
    if (!yardsticks.fp16.memory.empty()) fp16 = add(yardsticks.fp16.weights, "FP16 weights");
  }
  for (size_t i = 0; i < cells.size(); ++i) {
    if (*cells[i].spec != spec) continue;
    if (cells[i].weights != nullptr) {
      speeds[i] = CellSpeed{nullptr, add(*cells[i].weights, cells[i].label, cells[i].shape), fp16};
    } else if (yardsticks.reference != nullptr) {
      speeds[i] = CellSpeed{nullptr, 0, fp16};
    }
  }
  if (transformers.empty()) return;
  std::vector<TransformerSubject> subjects;
  for (size_t i = 0; i < transformers.size(); ++i)
    subjects.emplace_back(transformers[i], labels[i]);
  std::vector<ThroughputModel> models;
  for (size_t i = 0; i < transformers.size(); ++i)
    models.push_back({&subjects[i], &transformers[i].weights()});
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

std::vector<std::optional<CellSpeed>> MeasureSpeeds(const ModelConfig& config,
                                                    const ModelWeights* reference,
                                                    std::span<const SpeedCell> cells,
                                                    size_t threads, bool quiet, RunEta& eta) {
  std::vector<std::optional<CellSpeed>> speeds(cells.size());
  Yardsticks yardsticks{reference, {}};
  const bool timed = std::any_of(cells.begin(), cells.end(),
                                 [](const SpeedCell& cell) { return cell.spec->measure; });
  if (timed && reference != nullptr && !IsFp16(*reference))
    yardsticks.fp16 = Fp16Copy(config, *reference, threads);
  for (size_t i = 0; i < cells.size(); ++i) {
    const bool seen = std::any_of(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(i),
                                  [&](const SpeedCell& c) { return *c.spec == *cells[i].spec; });
    if (cells[i].spec->measure && !seen)
      MeasureOne(config, yardsticks, cells, *cells[i].spec, quiet, eta, speeds);
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
