#include "harness/kernels/qgemm.h"

#include <algorithm>
#include <cmath>

#include "harness/base/check.h"
#include "harness/kernels/qgemm_rows.h"

namespace quantref {
namespace {

QgemmRounding RoundingOf(const std::optional<ActivationFormat>& format) {
  if (!format) return {kWideLimit, false, 0};
  return {format->Limit(), format->static_scale.has_value(), format->static_scale.value_or(0)};
}

template <typename T>
T* Grown(Matrix<T>& buffer, size_t elements) {
  if (buffer.cols() < elements) buffer = Matrix<T>(1, elements);
  return buffer.data();
}

}  // namespace

const QgemmOps& QgemmOpsFor(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return kScalarQgemm;
    case Isa::kAvx2:
      return kAvx2Qgemm;
    case Isa::kAvx512:
      return kAvx512Qgemm;
    case Isa::kAmx:
      return kAmxQgemm;
  }
  QR_CHECK(false);
  return kScalarQgemm;
}

void QuantizedInputs::Pack(MatrixView<const float> x, const std::optional<ActivationFormat>& format,
                           const TiledMatrix& w, Isa isa, Team* team) {
  QR_CHECK_EQ(x.cols(), w.cols());
  const QgemmWeights& plain = w.plain();
  const QgemmOps& ops = QgemmOpsFor(isa);
  const size_t tokens = x.rows(), digits = format ? 1 : kMaxDigits, rows = tokens * digits;
  inputs_ = {.values = Grown(values_, rows * RowTerms(plain)),
             .sums = Grown(sums_, rows * plain.groups),
             .scales = Grown(scales_, tokens),
             .tokens = tokens,
             .digits = digits};
  QgemmRounding rounding = RoundingOf(format);
  if (format && !format->per_token && !format->static_scale) {
    float absmax = 0;
    for (size_t t = 0; t < tokens; ++t)
      absmax = std::max(absmax, OpsFor(isa).abs_max(x.row(t), x.cols()));
    rounding = {format->Limit(), true, format->ScaleFor(absmax)};
  }
  const std::span<const uint32_t> order = w.order();
  const float weight_unit = std::ldexp(1.0f, w.exponent());
  float* ordered = Grown(ordered_, order.size() * TeamThreads(team));
  RunOn(team, tokens, [&](size_t t, size_t worker) {
    const float* row = x.row(t);
    if (!order.empty()) {
      float* by_position = ordered + worker * order.size();
      for (size_t p = 0; p < order.size(); ++p) by_position[p] = row[order[p]];
      row = by_position;
    }
    ops.pack_token(row, rounding, plain, inputs_, t);
    inputs_.scales[t] *= weight_unit;
  });
}

void MultiplyQuantized(const QuantizedInputs& x, const TiledMatrix& w, size_t first, size_t count,
                       MatrixView<float> y, Matrix<uint8_t>& scratch, Isa isa) {
  QR_CHECK_EQ(y.rows(), x.plain().tokens);
  QR_CHECK_EQ(y.cols(), w.rows());
  QR_CHECK_LE(first + count, w.rows());
  QR_CHECK_EQ(first % kQgemmTile, 0u);
  QR_CHECK(count % kQgemmTile == 0 || first + count == w.rows());
  const QgemmOps& ops = QgemmOpsFor(isa);
  const Qgemm gemm = {w.plain(), x.plain(), y.data(), y.stride()};
  ops.multiply(gemm, first / kPanelRows, (first + count + kPanelRows - 1) / kPanelRows,
               Grown(scratch, ops.scratch_bytes(gemm)));
}

}  // namespace quantref
