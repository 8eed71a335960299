#include "eval/accuracy/kernel_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/accuracy/accuracy.h"
#include "harness/base/error.h"
#include "harness/model/block.h"

namespace quantref {
namespace {

constexpr size_t kTile = 128;  // positions whose logits exist at a time

// Sums over the positions so far.
void Add(MatrixView<const float> simulated, MatrixView<const float> kernel, PathGap& gap,
         double& same_top) {
  for (size_t t = 0; t < simulated.rows(); ++t) {
    const ReferencePosition position(simulated.row_span(t), 0);
    const PositionScore score = Compare(position, kernel.row_span(t));
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

// Takes the simulated model over the ids with every linear of the kernel's beside its own. The
// final norm's output.
Matrix<float> CheckLinears(const Transformer& simulated, const Transformer& kernel,
                           std::span<const uint32_t> ids, Workspace& work, PathGap& gap) {
  LinearCheck check(gap);
  const ModelWeights &expected = simulated.weights(), &found = kernel.weights();
  Matrix<float> h =
      simulated.Hidden(ids, work, [&](size_t layer, Tap tap, MatrixView<const float> x) {
        for (const LinearIndex i : LayoutOf(simulated.config(), layer).Readers(tap))
          check.Add(expected.blocks[layer].linears[i], found.blocks[layer].linears[i], x);
      });
  check.Add(expected.head, found.head, h.view());
  return h;
}

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

KernelPath PathOf(const ModelWeights& weights) {
  KernelPath path{0, DecodedEachCall(weights)};
  for (const BlockWeights& block : weights.blocks) {
    for (const Linear& linear : block.linears) path.linears += linear.weight.quantized();
  }
  path.linears += weights.head.weight.quantized();  // the embedding is looked up, not multiplied
  return path;
}

PathGap MeasureGap(const Transformer& simulated, const Transformer& kernel,
                   const Protocol& protocol, const TokenStream& stream,
                   std::span<const Window> windows, size_t window) {
  std::vector<uint32_t> ids = WindowIds(protocol, stream, windows[window]);
  ids.resize(GapTokens(kernel.weights(), ids.size()));
  PathGap gap;
  gap.window = window;
  gap.positions = ids.size();
  Workspace work;
  const Matrix<float> of_simulated = CheckLinears(simulated, kernel, ids, work, gap);
  const Matrix<float> of_kernel = kernel.Hidden(ids, work);
  Matrix<float> a(kTile, simulated.config().vocab), b(kTile, simulated.config().vocab);
  double same_top = 0;
  for (size_t first = 0; first < ids.size(); first += kTile) {
    const size_t count = std::min(kTile, ids.size() - first);
    const MatrixView<float> rows_a = a.view().Rows(0, count), rows_b = b.view().Rows(0, count);
    simulated.Logits(of_simulated.view().Rows(first, count), rows_a, work);
    kernel.Logits(of_kernel.view().Rows(first, count), rows_b, work);
    Add(rows_a, rows_b, gap, same_top);
  }
  const double positions = static_cast<double>(gap.positions);
  gap.kl_mean /= positions;
  gap.logit_mean_abs /= positions;
  gap.top1_agreement = same_top / positions;
  return gap;
}

}  // namespace quantref
