#include "harness/kernels/qgemm.h"

#include <algorithm>
#include <cmath>

#include "harness/base/check.h"
#include "harness/kernels/outlier_product.h"
#include "harness/kernels/qgemm_rows.h"
#include "harness/kernels/quantize_activations.h"
#include "harness/kernels/table_for.h"

namespace quantref {
namespace {

QgemmRounding RoundingOf(const std::optional<ActivationFormat>& format) {
  if (!format) return {kWideLimit, false, 0};
  return {format->Limit(), format->static_scale.has_value(), format->static_scale.value_or(0)};
}

// rest = the row without its outliers; how that is rounded. A scale that is made of what is left
// comes out while it is packed.
QgemmRounding WithoutOutliers(const ActivationFormat& format, std::span<const uint32_t> outliers,
                              std::span<const float> row, std::span<float> rest) {
  const float absmax = LeaveOut(*format.outliers, outliers, row, rest);
  const bool of_rest = format.outliers->weights == OutlierRule::Weights::kFp16;
  return {format.Limit(), !of_rest, of_rest ? 0 : format.ScaleFor(absmax)};
}

// The row as the matrix has its inputs, in the buffer unless it stands so already.
const float* InOrder(std::span<const uint32_t> order, const float* row, float* buffer) {
  if (order.empty()) return row;
  for (size_t p = 0; p < order.size(); ++p) buffer[p] = row[order[p]];
  return buffer;
}

template <typename T>
T* Grown(Matrix<T>& buffer, size_t elements) {
  if (buffer.cols() < elements) buffer = Matrix<T>(1, elements);
  return buffer.data();
}

}  // namespace

const QgemmOps& QgemmOpsFor(Isa isa) {
  return TableFor(isa, kScalarQgemm, kAvx2Qgemm, kAvx512Qgemm, kAmxQgemm);
}

const CodebookKernels& CodebookKernelsFor(Isa isa) {
  // Of the CPUs with AVX-512 and VNNI some (Cascade Lake) lack VBMI.
  static const bool has_vbmi = __builtin_cpu_supports("avx512vbmi");
  const CodebookKernels& widest = has_vbmi ? kAvx512VbmiCodebook : kAvx512Codebook;
  return TableFor(isa, kScalarCodebook, kAvx2Codebook, widest);
}

// What a codebook is multiplied with: rounded activations, by position.
void QuantizedInputs::Order(MatrixView<const float> x,
                            const std::optional<ActivationFormat>& format, const TiledMatrix& w,
                            Team* team) {
  const MatrixView<float> rows(Grown(floats_, x.rows() * x.cols()), x.rows(), x.cols());
  by_position_ = rows;
  inputs_ = {};
  inputs_.tokens = x.rows();
  if (format) {
    QuantizeActivations(*format, x, rows);
    x = rows;
  }
  float* buffers = Grown(rows_, x.cols() * TeamThreads(team));
  RunOn(team, x.rows(), [&](size_t t, size_t worker) {
    const float* row = InOrder(w.order(), x.row(t), buffers + worker * x.cols());
    if (row != rows.row(t)) std::copy_n(row, x.cols(), rows.row(t));
  });
}

void QuantizedInputs::Pack(MatrixView<const float> x, const std::optional<ActivationFormat>& format,
                           const TiledMatrix& w, Isa isa, Team* team,
                           std::span<const uint32_t> outliers) {
  QR_CHECK_EQ(x.cols(), w.cols());
  QR_CHECK(outliers.empty() || (format && format->outliers));
  const QgemmWeights& plain = w.plain();
  if (plain.form == CodeForm::kCodebook) {
    QR_CHECK(outliers.empty());
    return Order(x, format, w, team);
  }
  QR_CHECK(!format || format->HasIntegerProducts());
  const QgemmOps& ops = QgemmOpsFor(isa);
  const size_t tokens = x.rows(), digits = format ? 1 : kMaxDigits, rows = tokens * digits;
  inputs_ = {.values = Grown(values_, rows * RowTerms(plain)),
             .sums = Grown(sums_, rows * plain.groups),
             .totals = Grown(totals_, plain.rests_at > 0 ? tokens * plain.groups : 0),
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
  const float weight_unit = std::ldexp(1.0f, w.exponent());
  float* buffers = Grown(rows_, 2 * x.cols() * TeamThreads(team));
  RunOn(team, tokens, [&](size_t t, size_t worker) {
    const std::span<float> rest(buffers + 2 * worker * x.cols(), x.cols());
    const float* row = x.row(t);
    QgemmRounding own = rounding;
    if (!outliers.empty()) {
      own = WithoutOutliers(*format, outliers, x.row_span(t), rest);
      row = rest.data();
    }
    row = InOrder(w.order(), row, rest.data() + x.cols());
    ops.pack_token(row, own, plain, inputs_, t);
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
  const size_t end = (first + count + kPanelRows - 1) / kPanelRows;
  MultiplyPanels(x, w, first / kPanelRows, end, y, scratch, isa);
}

void MultiplyPanels(const QuantizedInputs& x, const TiledMatrix& w, size_t first, size_t end,
                    MatrixView<float> y, Matrix<uint8_t>& scratch, Isa isa) {
  if (w.plain().form == CodeForm::kCodebook) {
    const CodebookKernels& kernels = CodebookKernelsFor(isa);
    const MatrixView<const float> rows = x.by_position();
    kernels.multiply(
        {w.plain(), w.levels(), rows.data(), rows.stride(), rows.rows(), y.data(), y.stride()},
        first, end, Grown(scratch, kernels.scratch_bytes));
    return;
  }
  const QgemmOps& ops = QgemmOpsFor(isa);
  const Qgemm gemm = {w.plain(), x.plain(), y.data(), y.stride()};
  ops.multiply(gemm, first, end, Grown(scratch, ops.scratch_bytes(gemm)));
}

}  // namespace quantref
