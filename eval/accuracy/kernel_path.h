#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/accuracy/subject.h"
#include "eval/text/protocol.h"
#include "harness/model/transformer.h"
#include "harness/quant/activation.h"

namespace quantref {

// The two ways through a quantized model: the integer kernels, which are timed and which accuracy
// is measured through, and decoded weights in FP32 products, which say what should have come out.

// How many of a quantized model's products go through the kernels.
struct KernelPath {
  size_t linears = 0;                  // quantized ones that are multiplied
  std::vector<std::string> simulated;  // those of them that the kernels cannot hold
  std::optional<size_t> decoded_from{};  // the least of TokensToDecodeFor

  bool UsesKernels() const { return simulated.size() < linears; }
};
KernelPath PathOf(const ModelWeights& weights);

// The same packed weights through both, over every position of the beginning of a window.
struct PathGap {
  size_t window = 0, positions = 0;
  double logit_max_abs = 0;        // of the difference of two logits
  double logit_mean_abs = 0;       // of the simulated logits themselves, for scale
  double kl_mean = 0, kl_max = 0;  // KL(simulated || kernel), nats
  double top1_agreement = 1;       // share of positions with the same most likely token
  // Of the linears alone, each on the inputs that the simulated model gives it: the difference of
  // its outputs beside them, as the root of the ratio of their sums of squares. The largest, and
  // whose. Rounded activations are the same numbers here; behind another linear they need not be,
  // for what is closer to the middle of two codes than FP32 sums are exact rounds to the other,
  // and each such step moves what comes after it.
  double linear_error = 0;
  std::string worst_linear;
};

// The most that is no fault of the kernels. Of rounded activations the logits have no limit: the
// steps of which PathGap tells go on from block to block until they are as large as the noise of
// the rounding itself, whatever they began with.
struct GapLimits {
  std::optional<double> kl_mean;
  double linear_error = 0;

  bool LogitsHold(const PathGap& gap) const { return !kl_mean || gap.kl_mean <= *kl_mean; }
  bool LinearsHold(const PathGap& gap) const { return gap.linear_error <= linear_error; }
};

// The limits that were asked for, which are those of products whose activations alone are rounded,
// as they hold for this model. A codebook rounds each product beside the largest that its part can
// have (codebook_kernels.h): beside outliers that is some eight times as far off. So its limit is
// ten times as wide, and that of the KL, which goes by the square, a hundred times.
GapLimits LimitsFor(const ModelWeights& weights, const GapLimits& asked);

inline constexpr size_t kGapPositions = 512;  // the most that are compared
// Of a window of so many tokens, as many as are compared: so few that the codes themselves are
// multiplied with inputs that are rounded so, and stand in that form. With more, some instruction
// sets decode panels for both ways, which would compare nothing.
size_t GapTokens(const std::optional<ActivationFormat>& activations, size_t window,
                 CodeForm form = CodeForm::kPlain);

// Of the logits alone, of whatever two subjects of that vocabulary, each read from here: `found`
// beside `expected`. Throws Error where a logit is not finite.
PathGap MeasureLogitGap(Subject::Reader& expected, Subject::Reader& found,
                        std::span<const uint32_t> ids, size_t vocabulary);

// All of it. Throws likewise.
PathGap MeasureGap(const Transformer& simulated, const Transformer& kernel,
                   const Protocol& protocol, const TokenStream& stream,
                   std::span<const Window> windows, size_t window);

}  // namespace quantref
