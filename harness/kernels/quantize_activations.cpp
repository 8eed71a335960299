#include "harness/kernels/quantize_activations.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "harness/base/check.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/outlier_product.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"

namespace quantref {

namespace {

void RoundBesideOutliers(const ActivationFormat& format, std::span<const uint32_t> outliers,
                         MatrixView<const float> x, MatrixView<float> out) {
  std::vector<float> rest(x.cols()), kept(outliers.size());
  for (size_t t = 0; t < x.rows(); ++t) {
    const float absmax = LeaveOut(*format.outliers, outliers, x.row_span(t), rest);
    for (size_t k = 0; k < kept.size(); ++k) kept[k] = x(t, outliers[k]);
    Ops().round_to_grid(rest.data(), format.ScaleFor(absmax), format.Limit(), out.row(t), x.cols());
    for (size_t k = 0; k < kept.size(); ++k) out(t, outliers[k]) = kept[k];
  }
}

// A scale each group.
void RoundGroups(const ActivationFormat& format, std::span<const float> x, std::span<float> out) {
  for (size_t begin = 0; begin < x.size(); begin += format.group) {
    const size_t count = std::min(format.group, x.size() - begin);
    const float absmax = Ops().abs_max(&x[begin], count);
    Ops().round_to_grid(&x[begin], format.ScaleFor(absmax), format.Limit(), &out[begin], count);
  }
}

// Under one scale that is given.
void RoundUnder(float scale, const WeightScheme& scheme, std::span<const float> x,
                std::span<float> out) {
  const Grid grid(scale, scheme);
  for (size_t i = 0; i < x.size(); ++i) {
    out[i] =
        std::isfinite(x[i]) ? grid.Nearest(x[i]).value : std::numeric_limits<float>::quiet_NaN();
  }
}

// By the format's own rule. Numbers that are too small for scales in E4M3 are zeros.
void RoundByFormat(const ActivationFormat& format, std::span<const float> x, std::span<float> out) {
  WeightScheme scheme = SchemeOf(*format.format);
  scheme.granularity = format.group > 0 ? Granularity::kGroup : Granularity::kRow;
  scheme.group = format.group;
  ScaleUnit unit;
  if (scheme.scale_type() == ScaleType::kE4m3) {
    constexpr float kLeast = 1e-34f;
    const float absmax = Ops().abs_max(x.data(), x.size());
    if (absmax < kLeast) return std::fill(out.begin(), out.end(), 0.0f);
    unit.factor = format.static_scale     ? *format.static_scale
                  : std::isfinite(absmax) ? E4m3Divisor(absmax, scheme)
                                          : 1;
  } else if (format.static_scale) {
    return RoundUnder(*format.static_scale, scheme, x, out);
  }
  RoundRow(x, scheme, unit, out);
}

void RoundTokens(const ActivationFormat& format, MatrixView<const float> x, MatrixView<float> out) {
  const bool is_int = format.format == &kIntFormat;
  for (size_t t = 0; t < x.rows(); ++t) {
    is_int ? RoundGroups(format, x.row_span(t), out.row_span(t))
           : RoundByFormat(format, x.row_span(t), out.row_span(t));
  }
}

}  // namespace

void QuantizeActivations(const ActivationFormat& format, MatrixView<const float> x,
                         MatrixView<float> out, std::span<const uint32_t> outliers) {
  QR_CHECK_EQ(x.rows(), out.rows());
  QR_CHECK_EQ(x.cols(), out.cols());
  if (!outliers.empty()) return RoundBesideOutliers(format, outliers, x, out);
  if (!format.HasIntegerProducts()) return RoundTokens(format, x, out);
  const VectorOps& ops = Ops();
  float absmax = 0;
  if (!format.per_token) {
    for (size_t t = 0; t < x.rows(); ++t)
      absmax = std::max(absmax, ops.abs_max(x.row(t), x.cols()));
  }
  for (size_t t = 0; t < x.rows(); ++t) {
    if (format.per_token) absmax = ops.abs_max(x.row(t), x.cols());
    const float scale = format.static_scale.value_or(format.ScaleFor(absmax));
    ops.round_to_grid(x.row(t), scale, format.Limit(), out.row(t), x.cols());
  }
}

}  // namespace quantref
