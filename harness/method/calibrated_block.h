#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/model/block.h"
#include "harness/quant/activation.h"
#include "harness/quant/scheme.h"

namespace quantref {

// What a method wants to know of the inputs that linears get on the calibration text. Nothing that
// nobody asks for is collected.
struct DataNeeds {
  bool channel_max = false, channel_mean = false;  // of |x|, by channel
  bool gram = false;                               // the Hessian of GPTQ, up to a factor
  bool gram_blocks = false;  // of it what lies on the diagonal, as wide as a scale of the weights
  bool cross = false;        // beside what the reference gives (InputStatistics::cross)
  size_t kept = 0;           // the inputs themselves, of so many tokens (InputStatistics::kept)
  // The linears of a block are rounded tap by tap, and what later ones read passes through the
  // earlier ones as they were rounded.
  bool true_sequential = false;

  bool Any() const {
    return channel_max || channel_mean || gram || gram_blocks || cross || kept > 0;
  }
  DataNeeds operator|(const DataNeeds& other) const;
};

// Inputs are kept of the first samples, up to so many: of each the same number of tokens from its
// beginning, so that attention can be tried out on them. As calibration samples lie at random
// places of the text, these are a random sample of its tokens, by the samples' seed.
inline constexpr size_t kKeptSamples = 16;

// Tokens of each of the kept samples, for so many in all: as many as there are, where they are not
// enough.
size_t KeptRows(size_t samples, size_t length, size_t tokens);

// The inputs x of one tap, over all calibration tokens; only what was asked for is filled.
struct InputStatistics {
  size_t tokens = 0;
  std::vector<float> channel_max;    // max |x_j|
  std::vector<double> channel_mean;  // mean |x_j|
  // Sum of x x^T, (channels, channels), both triangles; where no more is asked for, the blocks on
  // its diagonal, and 0 elsewhere.
  Matrix<double> gram;
  // Sum of (r - x) x^T, (channels, channels), where r is what the reference gives in the place of
  // x: the same token's, behind blocks that are not quantized.
  Matrix<double> cross{};
  std::vector<Matrix<float>> kept;  // (T, channels) of each kept sample

  // Of the kept inputs, those that who asked for so many tokens gets, whoever asked for more.
  std::vector<MatrixView<const float>> Kept(size_t asked) const;

  InputStatistics Copy() const;

  // As if every x_j had been x_j / scales[j].
  void DivideChannels(std::span<const float> scales);
};

// A block that is being quantized: what transforms change and rounders read.
struct CalibratedBlock {
  BlockShape shape;
  BlockWeights weights{};                                       // FP32 where transforms change it
  std::array<InputStatistics, kTaps> inputs{};                  // by Tap
  std::array<std::optional<WeightScheme>, kLinears> schemes{};  // none: the linear is kept
  std::optional<ActivationScheme> activations{};                // of the linears with a scheme
  // Where weights are to be clipped before their grid is chosen: the largest magnitude, one for
  // each scale of the scheme (rows and columns as PackedMatrix has them); empty: nowhere.
  std::array<Matrix<float>, kLinears> limits{};
  std::array<std::string, kLinears> notes{};  // what methods decided, for the record

  InputStatistics& input(Tap tap) { return inputs[static_cast<size_t>(tap)]; }
  const InputStatistics& input(Tap tap) const { return inputs[static_cast<size_t>(tap)]; }

  // Whether some reader of the tap is to be quantized.
  bool Quantizes(Tap tap) const;

  // How the readers of the tap are to round their inputs, where `channel_max` describes them
  // (needed for static scales only).
  std::optional<ActivationFormat> FormatFor(std::span<const float> channel_max) const;
};

// Divides the producer's channels by the scales (> 0, finite) and multiplies the consumers'
// columns: the FP32 function of the block stays the same. Weights become FP32.
void ScaleChannels(BlockWeights& block, const ScalingGroup& group, std::span<const float> scales);

// Puts a linear that transforms may have changed, and that stays unquantized, into the precision
// that it was stored in; where no value changed, into its old storage. Throws Error where a value
// leaves FP16's range.
void StoreAsBefore(const Linear& before, Linear& linear);

// ScaleChannels for a block under calibration, whose statistics follow. Throws Error where limits
// were chosen already for weights that this would change.
void Fold(CalibratedBlock& block, const ScalingGroup& group, std::span<const float> scales);

// Adds to the notes of the group's quantized consumers.
void Note(CalibratedBlock& block, Tap tap, const std::string& note);

}  // namespace quantref
