#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "harness/method/activation_store.h"
#include "harness/method/calibrated_block.h"
#include "harness/model/block.h"
#include "harness/model/weights.h"

namespace quantref {

// The text that methods calibrate on.
struct CalibrationData {
  std::vector<std::vector<uint32_t>> samples;  // token ids, of equal length
  // Blocks read what the quantized blocks before them give; else what the reference's give.
  bool sequential = true;
  size_t activation_budget = DefaultActivationBudget();  // bytes of hidden states held in memory
};

// How many of the first samples' inputs are kept as they are (DataNeeds::kept, and for the output
// errors of the layer report).
inline constexpr size_t kKeptSamples = 4;

// Samples that are forwarded, side by side, before their products are summed: their inputs are held
// meanwhile.
inline constexpr size_t kSampleBatch = 8;

// How many samples a method with these needs goes through: all, or the kept ones alone.
size_t SamplesRead(const CalibrationData& data, const DataNeeds& needs);

// Takes the hidden states of all samples through a model, part by part, and collects what methods
// want to know on the way. Sums over tokens run in a fixed order: within a sample, then sample
// after sample; so results do not depend on the number of threads.
class Calibrator {
 public:
  // Only the first `samples` samples are used. Reads the embeddings.
  Calibrator(const ModelConfig& config, const ModelWeights& weights, const CalibrationData& data,
             size_t samples, size_t threads);

  // A part of the model: h, in place, showing the inputs of taps to the observer.
  using Part = std::function<void(MatrixView<float> h, Workspace& work, const Observer& observer)>;

  // What a pass collects, of which taps, and whether the hidden states move on.
  struct Pass {
    const BlockLayout& layout;  // of the block that the part is of
    std::span<const Tap> taps;
    DataNeeds needs{};
    bool advance = false;
  };

  // Runs the part on every sample. Statistics of the pass's taps are replaced; on_sample is called
  // after each sample, one at a time, and may throw to stop.
  void Run(const Part& part, const Pass& pass, std::array<InputStatistics, kTaps>& statistics,
           const std::function<void()>& on_sample);

  size_t samples() const { return store_.samples(); }
  double forward_seconds() const { return forward_seconds_; }
  double statistics_seconds() const { return statistics_seconds_; }

 private:
  struct Partial;
  struct Batch;
  void Forward(const Part& part, const Pass& pass, Batch& batch,
               std::array<InputStatistics, kTaps>& statistics,
               const std::function<void()>& on_sample);

  const ModelConfig& config_;
  const size_t tokens_, threads_;
  ActivationStore store_;
  std::vector<Workspace> workspaces_;   // one a thread
  std::vector<Matrix<float>> scratch_;  // of hidden states that do not move on, one a thread
  double forward_seconds_ = 0, statistics_seconds_ = 0;
};

}  // namespace quantref
