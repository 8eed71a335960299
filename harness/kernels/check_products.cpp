#include "harness/kernels/check_products.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "harness/base/half.h"
#include "harness/kernels/outlier_product.h"
#include "harness/kernels/qgemm.h"
#include "harness/kernels/quantize_activations.h"

namespace quantref {
namespace {

constexpr size_t kTokens = 6, kPanels = 4, kOutputs = 16;  // of a sample

// Up to `most` numbers below `count`, each once, in order: first and last, the others drawn.
std::vector<size_t> Drawn(size_t count, size_t most, Rng& rng) {
  std::vector<size_t> chosen = {0};
  if (count > 1) chosen.push_back(count - 1);
  while (chosen.size() < std::min(most, count)) {
    const size_t next = rng.Below(count);
    if (std::find(chosen.begin(), chosen.end(), next) == chosen.end()) chosen.push_back(next);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

// One scale for the whole window must not become one for the sample.
std::optional<ActivationFormat> FormatOfAll(MatrixView<const float> x,
                                            std::optional<ActivationFormat> format) {
  if (!format || format->per_token || format->static_scale) return format;
  float absmax = 0;
  for (size_t t = 0; t < x.rows(); ++t) {
    for (const float value : x.row_span(t)) absmax = std::max(absmax, std::fabs(value));
  }
  format->static_scale = format->ScaleFor(absmax);
  return format;
}

double Value(const DenseRows& w, size_t row, size_t col) {
  const size_t at = row * w.cols + col;
  switch (w.type) {
    case DenseRows::Type::kFp16:
      return static_cast<double>(HalfToFloat(static_cast<const uint16_t*>(w.data)[at]));
    case DenseRows::Type::kBf16:
      return static_cast<double>(BFloatToFloat(static_cast<const uint16_t*>(w.data)[at]));
    case DenseRows::Type::kFp32:
      break;
  }
  return static_cast<double>(static_cast<const float*>(w.data)[at]);
}

}  // namespace

bool EqualsReference(MatrixView<const float> x, const std::optional<ActivationFormat>& format,
                     const TiledMatrix& w, MatrixView<const float> y, Rng& rng,
                     const std::optional<DenseRows>& outlier_weights) {
  const std::vector<size_t> tokens = Drawn(x.rows(), kTokens, rng);
  Matrix<float> sample(tokens.size(), x.cols()), expected(tokens.size(), w.rows());
  for (size_t i = 0; i < tokens.size(); ++i) std::copy_n(x.row(tokens[i]), x.cols(), sample.row(i));
  const bool as_codes = format && format->HasIntegerProducts();
  if (format && !as_codes) QuantizeActivations(*format, sample.view(), sample.view());
  QuantizedInputs inputs;
  OutlierFinder finder;  // of all tokens, not of the sample's
  std::span<const uint32_t> outliers;
  if (format && format->outliers) outliers = finder.Find(x, format->outliers->threshold);
  inputs.Pack(sample.view(), as_codes ? FormatOfAll(x, format) : std::nullopt, w, Isa::kScalar,
              nullptr, outliers);
  OutlierProduct product;
  product.Pack(sample.view(), w, outliers, Isa::kScalar);
  Matrix<uint8_t> panel_scratch;
  Matrix<float> outlier_scratch;
  const size_t panels = (w.rows() + kPanelRows - 1) / kPanelRows;
  for (const size_t panel : Drawn(panels, kPanels, rng)) {
    const size_t first = panel * kPanelRows, count = std::min(kPanelRows, w.rows() - first);
    MultiplyPanels(inputs, w, panel, panel + 1, expected.view(), panel_scratch, Isa::kScalar);
    if (!outliers.empty())
      product.Add(w, outlier_weights, first, count, expected.view(), outlier_scratch, Isa::kScalar);
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (std::memcmp(expected.row(i) + first, y.row(tokens[i]) + first, count * sizeof(float)) !=
          0)
        return false;
    }
  }
  return true;
}

double SampledError(MatrixView<const float> x, const DenseRows& w, MatrixView<const float> y,
                    Rng& rng) {
  double worst = 0;
  const std::vector<size_t> tokens = Drawn(x.rows(), kTokens, rng);
  for (const size_t o : Drawn(w.rows, kOutputs, rng)) {
    for (const size_t t : tokens) {
      double sum = 0, magnitude = 0;
      for (size_t k = 0; k < w.cols; ++k) {
        const double term = static_cast<double>(x(t, k)) * Value(w, o, k);
        sum += term;
        magnitude += std::fabs(term);
      }
      const double error = std::fabs(static_cast<double>(y(t, o)) - sum);
      if (std::isnan(error)) return error;
      if (error > worst * magnitude) worst = error / magnitude;
    }
  }
  return worst;
}

double ErrorBound(size_t terms) { return 4 * 0x1p-24 * std::sqrt(static_cast<double>(terms)); }

}  // namespace quantref
