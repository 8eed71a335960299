#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "harness/method/activation_store.h"
#include "harness/method/calibrated_block.h"
#include "harness/method/gram_stripes.h"
#include "harness/method/sample_share.h"
#include "harness/model/block.h"
#include "harness/model/plan_model.h"
#include "harness/model/weights.h"

namespace quantref {

// The text that methods calibrate on.
struct CalibrationData {
  std::vector<std::vector<uint32_t>> samples;  // token ids, of equal length
  // Blocks read what the quantized blocks before them give; else what the reference's give.
  bool sequential = true;
  size_t activation_budget = DefaultActivationBudget();  // bytes of hidden states held in memory
};

// Samples that are forwarded, side by side, before their products are summed: their inputs are held
// meanwhile.
inline constexpr size_t kSampleBatch = 8;

// What of the calibration text is read: the first tokens of each of the first samples.
struct TextRead {
  size_t samples = 0, length = 0;
  bool operator==(const TextRead&) const = default;
};

// By a method with these needs: all of it; by one without any, for the layer report alone, the
// kReportTokens tokens that it compares outputs of.
TextRead ReadBy(const CalibrationData& data, const DataNeeds& needs);

// What these needs ask for, of a tap whose readers are planned so: nothing where none of them is
// quantized. GramPart::kBlocks where these hold those of every scale.
GramPart GramOf(const BlockPlan& block, Tap tap, const DataNeeds& needs);

// Whether these needs ask for the tap's products with the reference's inputs.
bool CrossOf(const BlockPlan& block, Tap tap, const DataNeeds& needs);

// Takes the hidden states of all samples through a model, part by part, and collects what methods
// want to know on the way. Sums over tokens run in a fixed order: within a sample, then sample
// after sample; so results do not depend on the number of threads, nor of processes that share the
// samples.
class Calibrator {
 public:
  // Reads the embeddings of what `read` says. `memory`: bytes of hidden states that it may hold in
  // memory. `share`: who has the other samples, and makes the same calls; nullptr: nobody.
  Calibrator(const ModelConfig& config, const ModelWeights& weights, const CalibrationData& data,
             const TextRead& read, size_t threads, size_t memory, SampleShare* share = nullptr);
  Calibrator(const Calibrator& other);  // with hidden states of its own, as the other's are

  // A part of the model: h, in place, showing the inputs of taps to the observer.
  using Part = std::function<void(MatrixView<float> h, Workspace& work, const Observer& observer)>;

  // What a pass collects, of which taps, and whether the hidden states move on.
  struct Pass {
    const BlockLayout& layout;  // of the block that the part is of
    std::span<const Tap> taps;
    DataNeeds needs{};
    std::array<GramPart, kTaps> grams{};  // by Tap
    bool advance = false;
    // By Tap: its products with what `reference`, which is then not empty, shows of the reference's
    // hidden states.
    std::array<bool, kTaps> crosses{};
    Part reference{};
  };

  // Wall time of passes, and of the products of what they collect.
  struct Seconds {
    double forward = 0, statistics = 0;
  };

  // The reference's hidden states go beside the others from here on: the embeddings of these
  // weights. They move by AdvanceReference alone.
  void Accompany(const ModelWeights& reference);
  void LeaveReference() { reference_.reset(); }
  bool accompanied() const { return reference_.has_value(); }
  void AdvanceReference(const Part& part);

  // Runs the part on every sample. Statistics of the pass's taps are replaced, by those of all
  // samples; on_sample is called for each of these, one at a time, and may throw to stop.
  Seconds Run(const Part& part, const Pass& pass, std::array<InputStatistics, kTaps>& statistics,
              const std::function<void()>& on_sample);

  size_t samples() const { return blocks_.samples(); }

 private:
  struct Partial;
  struct Batch;
  void Sum(const Pass& pass, const std::vector<GramStripe>& stripes, size_t block,
           const Batch& batch, SumChain& chain, std::array<InputStatistics, kTaps>& statistics);
  void Spread(const Pass& pass, const std::vector<GramStripe>& stripes, SumChain& chain,
              std::array<InputStatistics, kTaps>& statistics) const;
  void Forward(const Part& part, const Pass& pass, Batch& batch,
               std::array<InputStatistics, kTaps>& statistics,
               const std::function<void()>& on_sample);
  void ForwardReference(const Pass& pass, size_t worker, Batch& batch, size_t i);
  void EmbedInto(const ModelWeights& weights, const ActivationStore& store) const;
  MatrixView<float> ScratchCopy(MatrixView<const float> h, size_t worker);

  const ModelConfig& config_;
  const CalibrationData& data_;
  const size_t tokens_, threads_;
  SampleShare* const share_;
  const SampleBlocks blocks_;
  const std::vector<size_t> own_;  // samples, by their place in the stores
  ActivationStore store_;
  std::optional<ActivationStore> reference_;
  const size_t memory_;
  std::vector<Workspace> workspaces_;   // one a thread
  std::vector<Matrix<float>> scratch_;  // of hidden states that do not move on, one a thread
};

}  // namespace quantref
