#include "eval/accuracy/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "eval/accuracy/accuracy.h"
#include "harness/base/check.h"
#include "harness/base/copy_matrix.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/model/block.h"
#include "harness/model/plan_model.h"
#include "harness/model/transformer.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

// Positions whose logits exist at a time.
constexpr size_t kComparedRows = 128;

// Where a matrix of a plan stands: in a block, or outside of all.
struct MatrixPlace {
  size_t planned;  // in the plan
  size_t layer = 0;
  std::optional<LinearIndex> linear{};  // none: the embedding or the head
};

// Those that have a scheme, block after block; the embedding first, the head last.
std::vector<MatrixPlace> PlacesOf(const ModelConfig& config, std::span<const PlannedLinear> plan) {
  std::vector<MatrixPlace> places = {{0}};
  size_t at = 1;
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    for (const LinearRow& row : LayoutOf(config, layer).linears)
      places.push_back({at++, layer, row.index});
  }
  if (!config.tied_head) places.push_back({at++, config.layers.size()});
  QR_CHECK_EQ(at, plan.size());
  std::erase_if(places, [&](const MatrixPlace& place) { return !plan[place.planned].scheme; });
  return places;
}

bool IsEmbedding(const MatrixPlace& place) { return place.planned == 0; }

// Blocks that read what the matrix has changed.
size_t BlocksFrom(const ModelConfig& config, const MatrixPlace& place) {
  return config.layers.size() - place.layer;
}

// One thread's buffers.
struct KlScratch {
  Workspace work;
  Matrix<float> reference, logits;
  Matrix<double> probabilities;
};

class SensitivityPass {
 public:
  SensitivityPass(const ModelConfig& config, const ModelWeights& weights,
                  std::span<const PlannedLinear> plan, std::span<const size_t> bits,
                  std::span<const std::vector<uint32_t>> samples, const SensitivityOptions& options)
      : config_(config),
        plan_(plan),
        bits_(bits),
        samples_(samples),
        options_(options),
        model_(config, weights, Longest(samples)),
        places_(PlacesOf(config, plan)),
        scratch_(options.threads) {
    for (const MatrixPlace& place : places_) total_ += samples.size() * Units(place);
  }

  std::vector<std::vector<double>> Run() {
    std::vector<std::vector<double>> all(plan_.size());
    ReadReference();
    auto place = places_.begin();
    for (size_t layer = 0; layer <= config_.layers.size(); ++layer) {
      std::vector<MatrixPlace> here;
      for (; place != places_.end() && place->layer == layer; ++place) here.push_back(*place);
      MeasureLayer(here, all);
      if (layer < config_.layers.size()) AdvanceReference(layer);
    }
    return all;
  }

 private:
  static size_t Longest(std::span<const std::vector<uint32_t>> samples) {
    size_t longest = 0;
    for (const std::vector<uint32_t>& ids : samples) longest = std::max(longest, ids.size());
    return longest;
  }

  // Of progress, for one sample: logits count as a block.
  size_t Units(const MatrixPlace& place) const { return BlocksFrom(config_, place) + 1; }

  // What each sample is at the first block, and what the head reads of it.
  void ReadReference() {
    hidden_.resize(samples_.size());
    last_.resize(samples_.size());
    ParallelFor(samples_.size(), options_.threads, [&](size_t s, size_t worker) {
      hidden_[s] = Matrix<float>(samples_[s].size(), config_.hidden);
      Embed(config_, model_.weights(), samples_[s], hidden_[s].view());
      last_[s] = model_.Hidden(samples_[s], scratch_[worker].work);
    });
  }

  void AdvanceReference(size_t layer) {
    ParallelFor(samples_.size(), options_.threads, [&](size_t s, size_t worker) {
      model_.Run(layer, layer + 1, hidden_[s].view(), scratch_[worker].work);
    });
  }

  // The model with the matrix rounded, for each number of bits.
  std::vector<ModelWeights> Rounded(const MatrixPlace& place) const {
    std::vector<ModelWeights> rounded(bits_.size(), model_.weights());
    const PlannedLinear& planned = plan_[place.planned];
    ParallelFor(bits_.size(), options_.threads, [&](size_t b, size_t) {
      ModelWeights& weights = rounded[b];
      Linear& linear = place.linear         ? weights.blocks[place.layer].linears[*place.linear]
                       : IsEmbedding(place) ? weights.embedding
                                            : weights.head;
      WeightScheme scheme = *planned.scheme;
      scheme.bits = static_cast<int>(bits_[b]);
      linear.weight = RoundedWeight(linear, scheme);
      if (IsEmbedding(place) && HeadIsTied(model_.weights())) weights.head.weight = linear.weight;
    });
    return rounded;
  }

  static Weight RoundedWeight(const Linear& linear, const WeightScheme& scheme) {
    try {
      return Weight(std::make_shared<const PackedMatrix>(
          RoundToNearest(linear.weight.Decode().view(), scheme)));
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& error) {
      throw Error(fmt::format("cannot be rounded to {}: {}", SchemeName(scheme), error.problem()),
                  linear.name, error.hint());
    }
  }

  void MeasureLayer(const std::vector<MatrixPlace>& places, std::vector<std::vector<double>>& all) {
    std::vector<std::vector<Transformer>> rounded(places.size());
    for (size_t p = 0; p < places.size(); ++p) {
      for (ModelWeights& weights : Rounded(places[p]))
        rounded[p].emplace_back(config_, std::move(weights), Longest(samples_),
                                Products::kSimulated);
    }
    // [matrix][sample][bits]
    std::vector<std::vector<std::vector<double>>> sums(
        places.size(), std::vector<std::vector<double>>(samples_.size()));
    ParallelFor(places.size() * samples_.size(), options_.threads, [&](size_t i, size_t worker) {
      const size_t p = i / samples_.size(), s = i % samples_.size();
      sums[p][s] = KlOf(places[p], rounded[p], s, scratch_[worker]);
      const std::lock_guard lock(mutex_);
      done_ += Units(places[p]);
      if (options_.progress) options_.progress(done_, total_, NameOf(places[p]));
    });
    for (size_t p = 0; p < places.size(); ++p)
      all[places[p].planned] = MeanOver(sums[p], places[p]);
  }

  const std::string& NameOf(const MatrixPlace& place) const {
    return plan_[place.planned].shape.name;
  }

  std::vector<double> MeanOver(const std::vector<std::vector<double>>& sums,
                               const MatrixPlace& place) const {
    std::vector<double> means(bits_.size(), 0);
    size_t positions = 0;
    for (size_t s = 0; s < samples_.size(); ++s) {
      for (size_t b = 0; b < bits_.size(); ++b) means[b] += sums[s][b];
      positions += samples_[s].size() - 1;
    }
    for (size_t b = 0; b < bits_.size(); ++b) {
      means[b] /= static_cast<double>(positions);
      if (std::isfinite(means[b])) continue;
      throw Error(
          fmt::format("the logits are not finite where it alone is rounded to {} bits", bits_[b]),
          NameOf(place), "leave these bits out of quantize.budget.choices");
    }
    return means;
  }

  // What the head reads of the sample where the matrix is rounded.
  Matrix<float> HiddenOf(const MatrixPlace& place, const Transformer& model, size_t sample,
                         Workspace& work) const {
    const bool in_block = place.linear.has_value();
    if (!in_block && !IsEmbedding(place)) return CopyOf(last_[sample]);
    if (!in_block) return model.Hidden(samples_[sample], work);
    Matrix<float> h = CopyOf(hidden_[sample]);
    model.Run(place.layer, config_.layers.size(), h.view(), work);
    FinalNorm(config_, model.weights(), h.view());
    return h;
  }

  // The sums over the sample's positions, of each rounded model.
  std::vector<double> KlOf(const MatrixPlace& place, const std::vector<Transformer>& rounded,
                           size_t sample, KlScratch& scratch) const {
    std::vector<Matrix<float>> hidden;
    for (const Transformer& model : rounded)
      hidden.push_back(HiddenOf(place, model, sample, scratch.work));
    std::vector<double> sums(rounded.size(), 0);
    const size_t positions = samples_[sample].size() - 1;
    for (size_t first = 0; first < positions; first += kComparedRows) {
      const size_t count = std::min(kComparedRows, positions - first);
      AddTile(rounded, hidden, sample, first, count, scratch, sums);
    }
    return sums;
  }

  void AddTile(const std::vector<Transformer>& rounded, const std::vector<Matrix<float>>& hidden,
               size_t sample, size_t first, size_t count, KlScratch& scratch,
               std::vector<double>& sums) const {
    if (scratch.reference.rows() == 0) {
      scratch.reference = Matrix<float>(kComparedRows, config_.vocab);
      scratch.logits = Matrix<float>(kComparedRows, config_.vocab);
      scratch.probabilities = Matrix<double>(kComparedRows, config_.vocab);
    }
    const MatrixView<float> of_reference = scratch.reference.view().Rows(0, count);
    model_.Logits(last_[sample].view().Rows(first, count), of_reference, scratch.work);
    std::vector<ReferencePosition> reference;
    for (size_t i = 0; i < count; ++i) {
      const std::span<double> room(scratch.probabilities.data() + i * config_.vocab, config_.vocab);
      reference.emplace_back(of_reference.row_span(i), samples_[sample][first + i + 1], room);
    }
    for (size_t m = 0; m < rounded.size(); ++m) {
      const MatrixView<float> logits = scratch.logits.view().Rows(0, count);
      rounded[m].Logits(hidden[m].view().Rows(first, count), logits, scratch.work);
      for (size_t i = 0; i < count; ++i)
        sums[m] += ScorePosition(reference[i], logits.row_span(i)).kl;
    }
  }

  const ModelConfig& config_;
  const std::span<const PlannedLinear> plan_;
  const std::span<const size_t> bits_;
  const std::span<const std::vector<uint32_t>> samples_;
  const SensitivityOptions& options_;
  const Transformer model_;
  const std::vector<MatrixPlace> places_;
  std::vector<Matrix<float>> hidden_, last_;  // of each sample: at the block at work, at the head
  std::vector<KlScratch> scratch_;            // one a thread
  std::mutex mutex_;
  size_t done_ = 0, total_ = 0;
};

}  // namespace

std::vector<std::vector<double>> MeasureSensitivity(const ModelConfig& config,
                                                    const ModelWeights& weights,
                                                    std::span<const PlannedLinear> plan,
                                                    std::span<const size_t> bits,
                                                    std::span<const std::vector<uint32_t>> samples,
                                                    const SensitivityOptions& options) {
  return SensitivityPass(config, weights, plan, bits, samples, options).Run();
}

SensitivityWork SensitivityWorkOf(const ModelConfig& config, std::span<const PlannedLinear> plan,
                                  size_t choices) {
  SensitivityWork work{.blocks = 2 * config.layers.size()};  // the reference
  for (const MatrixPlace& place : PlacesOf(config, plan)) {
    work.blocks += choices * BlocksFrom(config, place);
    work.heads += choices + 1;
  }
  return work;
}

double SensitivityBytes(const ModelConfig& config, std::span<const PlannedLinear> plan,
                        std::span<const size_t> bits, size_t samples, size_t length,
                        size_t threads) {
  double byte_sum = 0;  // of a weight in all choices, its share of scales and zero points with it
  for (const size_t width : bits) byte_sum += static_cast<double>(width + 1) / 8;
  std::vector<double> of_layers(config.layers.size() + 1, 0);  // codes that exist together
  double largest = 0;                                          // matrix in FP32
  for (const MatrixPlace& place : PlacesOf(config, plan)) {
    const LinearShape& shape = plan[place.planned].shape;
    const double weights = static_cast<double>(shape.rows) * static_cast<double>(shape.cols);
    of_layers[place.layer] += weights * byte_sum;
    largest = std::max(largest, weights * sizeof(float));
  }
  const double decoded = static_cast<double>(std::min(threads, bits.size())) * largest;
  const double states = static_cast<double>(length * config.hidden) * sizeof(float);
  const double tile =
      static_cast<double>(kComparedRows * config.vocab) * (2 * sizeof(float) + sizeof(double));
  return *std::max_element(of_layers.begin(), of_layers.end()) + decoded +
         2 * static_cast<double>(samples) * states +
         static_cast<double>(threads) * (tile + static_cast<double>(bits.size()) * states);
}

}  // namespace quantref
