#include "harness/method/round_linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>

#include "harness/base/check.h"
#include "harness/base/clock.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/kernels/dequantize.h"
#include "harness/kernels/gemm.h"
#include "harness/model/ops.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

double Square(float x) { return static_cast<double>(x) * static_cast<double>(x); }

// The sum of term(i), i in [0, n), in several sums that do not wait for each other.
template <typename Term>
double SumOf(size_t n, const Term& term) {
  constexpr size_t kSums = 8;
  double sums[kSums] = {};
  size_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (size_t s = 0; s < kSums; ++s) sums[s] += term(i + s);
  }
  for (; i < n; ++i) sums[0] += term(i);
  return std::accumulate(std::begin(sums), std::end(sums), 0.0);
}

// As LayerReport::start.
float StartOf(float weight, float value, float limit, const Grid& grid) {
  const float cut = std::clamp(weight, -limit, limit);
  return grid.Nearest(cut).value == value ? cut : value;
}

// Compares the weights with the grid and its codes, row by row. `start`: is filled, unless empty.
void ReportWeights(MatrixView<const float> weights, MatrixView<const float> limits,
                   const PackedMatrix& packed, MatrixView<float> start, LayerReport& report) {
  std::vector<float> decoded(weights.cols());
  double squares = 0;
  size_t clipped = 0;
  const ScaleShape& shape = packed.scales();
  report.scale_min = std::numeric_limits<float>::infinity();
  for (size_t r = 0; r < weights.rows(); ++r) {
    DecodeRows(packed, r, MatrixView<float>(decoded.data(), 1, decoded.size()));
    for (size_t s = 0, p = 0; s < shape.cols; ++s) {
      const Grid grid = packed.grid(shape.RowOf(r), s);
      report.scale_min = std::min(report.scale_min, grid.scale());
      report.scale_max = std::max(report.scale_max, grid.scale());
      const ValueRange reach = grid.Reach();
      const float limit =
          limits.empty() ? std::numeric_limits<float>::infinity() : limits(shape.RowOf(r), s);
      for (const size_t end = shape.End(s); p < end; ++p) {
        const size_t c = packed.order().empty() ? p : packed.order()[p];
        clipped += weights(r, c) > reach.hi || weights(r, c) < reach.lo;
        squares += Square(weights(r, c) - decoded[c]);
        if (!start.empty()) start(r, c) = StartOf(weights(r, c), decoded[c], limit, grid);
      }
    }
  }
  const double count = static_cast<double>(weights.rows() * weights.cols());
  report.weight_mse = squares / count;
  report.clipped_share = static_cast<double>(clipped) / count;
}

// Compares the outputs before (the FP32 weights, exact inputs) and after on the kept inputs.
void ReportOutputs(MatrixView<const float> weights, const Linear& linear,
                   const LinearContext& context, LayerReport& report) {
  const std::vector<MatrixView<const float>> kept = context.inputs->Kept(kReportTokens);
  if (kept.empty()) return;
  std::vector<double> squares(kept.size()), errors(kept.size());
  ParallelFor(kept.size(), context.threads, [&](size_t i, size_t) {
    Matrix<float> before(kept[i].rows(), weights.rows()), after(kept[i].rows(), weights.rows());
    MultiplyTransposed(kept[i], weights, before.view());
    const Linear product{
        linear.name, linear.weight, {}, linear.activations, linear.outlier_weights};
    LinearScratch scratch;
    ApplyLinear(product, kept[i], after.view(), scratch);
    const float *x = before.data(), *y = after.data();
    const size_t outputs = before.rows() * before.cols();
    squares[i] = SumOf(outputs, [&](size_t at) { return Square(x[at]); });
    errors[i] = SumOf(outputs, [&](size_t at) { return Square(y[at] - x[at]); });
  });
  double square = 0, error = 0, count = 0;
  for (size_t i = 0; i < kept.size(); ++i) {
    square += squares[i];
    error += errors[i];
    count += static_cast<double>(kept[i].rows() * weights.rows());
  }
  report.output_mse = error / count;
  if (square > 0) report.output_error = error / square;
}

std::string Joined(const std::string& a, const std::string& b) {
  return a + (a.empty() || b.empty() ? "" : ", ") + b;
}

// What the products of outlier channels take; empty where there are none.
Weight KeptForOutliers(const Linear& linear, const LinearContext& context) {
  if (!context.activations || !context.activations->KeepsWeights()) return {};
  try {
    return OutlierWeights(linear.weight, linear.name);
  } catch (const Error& error) {
    throw Error("its columns of outliers: " + error.problem(), error.where(),
                "outlier_weights: int8 keeps none");
  }
}

}  // namespace

LayerReport RoundLinear(const PlannedLinear& planned, const Method& method,
                        const LinearContext& context, Linear& linear) {
  const Rounder& rounder = method.RounderFor(planned);
  const Knobs knobs = method.KnobsOf(rounder);
  const Matrix<float> values = linear.weight.Decode();
  const Clock::time_point start = Clock::now();
  Weight kept = KeptForOutliers(linear, context);
  try {
    Rounded rounded = rounder.Round({linear.name, values.view(), *planned.scheme, context.inputs,
                                     context.limits, &knobs, context.threads});
    LayerReport report;
    report.seconds = Since(start);
    QR_CHECK(rounded.packed.rows() == values.rows() && rounded.packed.cols() == values.cols());
    const auto packed = std::make_shared<PackedMatrix>(std::move(rounded.packed));
    linear.outlier_weights = std::move(kept);
    linear.weight = Weight(packed);
    linear.activations = context.activations;
    report.name = linear.name;
    report.method = rounded.made_by.empty() ? rounder.name() : rounded.made_by;
    if (report.method != rounder.name()) report.asked = rounder.name();
    report.scheme = *planned.scheme;
    report.packed_sha256 = packed->Sha256();
    report.effective_bits =
        packed->EffectiveBits() + static_cast<double>(linear.outlier_weights.StorageBits()) /
                                      static_cast<double>(values.rows() * values.cols());
    report.note = Joined(context.note, rounded.note);
    if (packed->exponent() != 0)
      report.note = Joined(report.note, fmt::format("scales times 2^{}", packed->exponent()));
    Matrix<float> begin =
        context.keep_start ? Matrix<float>(values.rows(), values.cols()) : Matrix<float>();
    ReportWeights(values.view(), context.limits, *packed, begin.view(), report);
    if (context.keep_start) report.start = std::make_shared<const Matrix<float>>(std::move(begin));
    if (context.inputs != nullptr) ReportOutputs(values.view(), linear, context, report);
    return report;
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& error) {
    throw Error(fmt::format("{} cannot round it: {}", rounder.name(), error.problem()), linear.name,
                error.hint());
  }
}

}  // namespace quantref
