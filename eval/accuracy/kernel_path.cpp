#include "eval/accuracy/kernel_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "eval/accuracy/accuracy.h"
#include "eval/accuracy/transformer_subject.h"
#include "harness/base/error.h"
#include "harness/model/block.h"
#include "harness/model/has_kernel.h"

namespace quantref {
namespace {

constexpr size_t kTile = 128;  // positions whose logits exist at a time

// Sums over the positions so far.
void Add(MatrixView<const float> simulated, MatrixView<const float> kernel, PathGap& gap,
         double& same_top) {
  for (size_t t = 0; t < simulated.rows(); ++t) {
    const ReferencePosition position(simulated.row_span(t), 0);
    const PositionScore score = ScorePosition(position, kernel.row_span(t));
    if (!std::isfinite(score.kl)) throw Error("the logits are not finite", "simulated_vs_kernel");
    gap.kl_mean += score.kl;
    gap.kl_max = std::max(gap.kl_max, score.kl);
    same_top += score.same_top ? 1 : 0;
    double sum = 0, largest = 0;
    for (size_t i = 0; i < simulated.cols(); ++i) {
      const double a = simulated(t, i), b = kernel(t, i);
      sum += std::abs(a);
      largest = std::max(largest, std::abs(a - b));
    }
    gap.logit_mean_abs += sum / static_cast<double>(simulated.cols());
    gap.logit_max_abs = std::max(gap.logit_max_abs, largest);
  }
}

// The relative difference of two results.
double ErrorOf(MatrixView<const float> expected, MatrixView<const float> found) {
  double difference = 0, size = 0;
  for (size_t t = 0; t < expected.rows(); ++t) {
    for (size_t i = 0; i < expected.cols(); ++i) {
      const double e = expected(t, i), d = found(t, i) - e;
      difference += d * d;
      size += e * e;
    }
  }
  if (difference == 0) return 0;
  const double error = std::sqrt(difference / size);
  return std::isfinite(error) ? error : HUGE_VAL;
}

// Keeps the largest error of a linear, each on the same inputs through both paths.
class LinearCheck {
 public:
  explicit LinearCheck(PathGap& gap) : gap_(gap) {}

  void Add(const Linear& simulated, const Linear& kernel, MatrixView<const float> x) {
    if (kernel.weight.tiled() == nullptr) return;
    const MatrixView<float> a = Shaped(expected_, x.rows(), simulated.weight.rows());
    const MatrixView<float> b = Shaped(found_, x.rows(), simulated.weight.rows());
    ApplyLinear(simulated, x, a, scratch_);
    ApplyLinear(kernel, x, b, scratch_);
    const double error = ErrorOf(a, b);
    if (error <= gap_.linear_error) return;
    gap_.linear_error = error;
    gap_.worst_linear = simulated.name;
  }

 private:
  PathGap& gap_;
  Matrix<float> expected_, found_;
  LinearScratch scratch_;
};

// Reads with the simulated model, every linear of the kernel's beside its own.
class CheckingReader : public Subject::Reader {
 public:
  CheckingReader(const Transformer& simulated, const Transformer& kernel, PathGap& gap)
      : simulated_(simulated), kernel_(kernel), check_(gap) {}

  void Read(std::span<const uint32_t> ids) override {
    const ModelWeights &expected = simulated_.weights(), &found = kernel_.weights();
    hidden_ = simulated_.Hidden(ids, work_, [&](size_t layer, Tap tap, MatrixView<const float> x) {
      for (const LinearIndex i : LayoutOf(simulated_.config(), layer).Readers(tap))
        check_.Add(expected.blocks[layer].linears[i], found.blocks[layer].linears[i], x);
    });
    check_.Add(expected.head, found.head, hidden_.view());
  }
  void Logits(size_t first, MatrixView<float> logits) override {
    simulated_.Logits(hidden_.view().Rows(first, logits.rows()), logits, work_);
  }

 private:
  const Transformer &simulated_, &kernel_;
  LinearCheck check_;
  Workspace work_;
  Matrix<float> hidden_;
};

// For all linears.
size_t GapTokens(const ModelWeights& kernel, size_t window) {
  size_t tokens = std::min(window, kGapPositions);
  for (const Linear* linear : AllLinears(kernel)) {
    if (linear->weight.tiled() != nullptr)
      tokens = GapTokens(linear->activations, tokens, FormOfCodes(linear->weight));
  }
  return tokens;
}

}  // namespace

size_t GapTokens(const std::optional<ActivationFormat>& activations, size_t window, CodeForm form) {
  size_t tokens = std::min(window, kGapPositions);
  while (tokens > 1 && !MultipliesCodes(activations, tokens, form)) --tokens;
  return tokens;
}

GapLimits LimitsFor(const ModelWeights& weights, const GapLimits& asked) {
  constexpr double kOfCodebook = 10;
  const std::vector<const Linear*> linears = AllLinears(weights);
  const bool plain = std::ranges::none_of(linears, [](const Linear* linear) {
    return linear->weight.tiled() != nullptr && FormOfCodes(linear->weight) == CodeForm::kCodebook;
  });
  if (plain) return asked;
  GapLimits wider{std::nullopt, kOfCodebook * asked.linear_error};
  if (asked.kl_mean) wider.kl_mean = kOfCodebook * kOfCodebook * *asked.kl_mean;
  return wider;
}

KernelPath PathOf(const ModelWeights& weights) {
  KernelPath path{0, DecodedEachCall(weights)};
  const auto add = [&](const Linear& linear) {
    path.linears += linear.weight.quantized();
    if (!HasKernel(linear)) return;
    const auto from = TokensToDecodeFor(linear.activations, FormOfCodes(linear.weight));
    if (from) path.decoded_from = std::min(*from, path.decoded_from.value_or(*from));
  };
  for (const BlockWeights& block : weights.blocks) {
    for (const Linear& linear : block.linears) add(linear);
  }
  add(weights.head);  // the embedding is looked up, not multiplied
  return path;
}

PathGap MeasureLogitGap(Subject::Reader& expected, Subject::Reader& found,
                        std::span<const uint32_t> ids, size_t vocabulary) {
  PathGap gap;
  gap.positions = ids.size();
  expected.Read(ids);
  found.Read(ids);
  Matrix<float> a(kTile, vocabulary), b(kTile, vocabulary);
  double same_top = 0;
  for (size_t first = 0; first < ids.size(); first += kTile) {
    const size_t count = std::min(kTile, ids.size() - first);
    const MatrixView<float> rows_a = a.view().Rows(0, count), rows_b = b.view().Rows(0, count);
    expected.Logits(first, rows_a);
    found.Logits(first, rows_b);
    Add(rows_a, rows_b, gap, same_top);
  }
  const double positions = static_cast<double>(gap.positions);
  gap.kl_mean /= positions;
  gap.logit_mean_abs /= positions;
  gap.top1_agreement = same_top / positions;
  return gap;
}

PathGap MeasureGap(const Transformer& simulated, const Transformer& kernel,
                   const Protocol& protocol, const TokenStream& stream,
                   std::span<const Window> windows, size_t window) {
  std::vector<uint32_t> ids = WindowIds(protocol, stream, windows[window]);
  ids.resize(GapTokens(kernel.weights(), ids.size()));
  PathGap of_linears;
  CheckingReader expected(simulated, kernel, of_linears);
  std::shared_ptr<Subject::Memory> memory;
  const auto found = TransformerSubject(kernel, "kernel").MakeReader(memory, nullptr);
  PathGap gap = MeasureLogitGap(expected, *found, ids, simulated.config().vocab);
  gap.window = window;
  gap.linear_error = of_linears.linear_error;
  gap.worst_linear = of_linears.worst_linear;
  return gap;
}

}  // namespace quantref
