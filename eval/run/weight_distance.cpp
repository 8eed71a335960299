#include "eval/run/weight_distance.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "harness/base/cancel.h"
#include "harness/base/matrix.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {
namespace {

// Calls f with each row of both.
template <typename F>
void ForRowPairs(const Weight& own, const Weight& reference, size_t rows, const F& f) {
  constexpr size_t kAtOnce = 64;
  Matrix<float> a(kAtOnce, own.cols()), b(kAtOnce, own.cols());
  for (size_t first = 0; first < rows; first += kAtOnce) {
    ThrowIfCancelled();
    const size_t count = std::min(kAtOnce, rows - first);
    own.DecodeRows(first, a.view().Rows(0, count));
    reference.DecodeRows(first, b.view().Rows(0, count));
    for (size_t r = 0; r < count; ++r)
      f(std::span<const float>(a.view().row_span(r)), std::span<const float>(b.view().row_span(r)));
  }
}

}  // namespace

SquaresOf SquaresBetween(const Weight& own, const Weight& reference, size_t rows) {
  SquaresOf sums;
  ForRowPairs(own, reference, rows, [&](std::span<const float> a, std::span<const float> b) {
    for (size_t i = 0; i < a.size(); ++i) {
      const double y = a[i], x = b[i], d = y - x;
      sums.differences += d * d;
      sums.own += y * y;
      sums.reference += x * x;
    }
  });
  return sums;
}

SquaresOf SquaresUpToInputs(const Weight& own, const Weight& reference, size_t rows) {
  struct OfInput {
    double own = 0, products = 0, reference = 0;
  };
  std::vector<OfInput> inputs(own.cols());
  ForRowPairs(own, reference, rows, [&](std::span<const float> a, std::span<const float> b) {
    for (size_t i = 0; i < a.size(); ++i) {
      const double y = a[i], x = b[i];
      inputs[i].own += y * y;
      inputs[i].products += y * x;
      inputs[i].reference += x * x;
    }
  });
  SquaresOf sums;
  for (const OfInput& input : inputs) {
    const double fitted =
        input.reference > 0 ? input.products * input.products / input.reference : 0;
    sums += {.differences = input.own - fitted, .own = input.own, .reference = fitted};
  }
  return sums;
}

double SquaresOfSteps(const Weight& weight) {
  const PackedMatrix* const packed = weight.packed();
  if (packed == nullptr || !packed->scheme().format->affine()) return HUGE_VAL;
  double sum = 0;
  for (size_t r = 0; r < packed->scale_rows(); ++r) {
    for (size_t c = 0; c < packed->scale_cols(); ++c) {
      const double step = packed->affine(r, c).scale;
      sum += step * step;
    }
  }
  const auto scales = static_cast<double>(packed->scale_rows() * packed->scale_cols());
  return sum / scales * static_cast<double>(weight.rows()) * static_cast<double>(weight.cols());
}

// What rounds to the nearest code leaves a twelfth of a step's square, and somewhat more where
// later weights make up for the errors of earlier ones: less than the square. With codes of 2 bits
// that may be more than the weights' own squares, so that these cannot tell a rounding from another
// matrix. The direction can: GPTQ's of 2 bits had correlations of 0.64 and more (wikilm-2m, groups
// of 128 and rows), also where the squared error was 1.2 of the squares. That of n unrelated
// weights is about 1 / sqrt(n), and their squared error twice the squares. Nor did
// those roundings make weights longer (slopes of 0.75 to 1): scales that are not theirs do.
Nearness JudgeNearness(const SquaresOf& sums, double squares_of_steps) {
  constexpr double kLeastCorrelation = 0.25, kMostSlope = 1.5;
  const bool beyond_zeros = sums.differences > sums.reference;
  if (beyond_zeros && sums.Correlation() < kLeastCorrelation) return Nearness::kUnrelated;
  if (sums.differences > squares_of_steps) return Nearness::kFar;
  if (!beyond_zeros) return Nearness::kRounded;
  return sums.Slope() > kMostSlope ? Nearness::kScaled : Nearness::kCoarse;
}

}  // namespace quantref
