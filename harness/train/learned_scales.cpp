#include "harness/train/learned_scales.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/quant/affine.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"
#include "harness/quant/scale.h"
#include "harness/quant/scale_shape.h"

namespace quantref {
namespace {

// The scale as it is stored; one that training drives to 0 or below is the least normal one.
float StoredScale(float scale, int exponent) {
  constexpr float kLeast = 0x1p-14f;  // of FP16's normal numbers
  return RoundScale(std::max(scale, std::ldexp(kLeast, exponent)), ScaleType::kFp16, {exponent});
}

// body(row, first column, columns, scale's number) for the runs of weights that share a scale.
template <typename F>
void ForRuns(const ScaleShape& shape, size_t rows, const F& body) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t s = 0; s < shape.cols; ++s)
      body(r, shape.Begin(s), shape.Size(s), shape.RowOf(r) * shape.cols + s);
  }
}

std::vector<Affine> StoredScales(const LearnedScales& learned) {
  std::vector<Affine> stored;
  for (size_t i = 0; i < learned.zeros.size(); ++i)
    stored.push_back(
        {StoredScale(learned.scale.value.data()[i], learned.exponent), learned.zeros[i]});
  return stored;
}

ScaleShape ShapeFor(MatrixView<const float> weights, const WeightScheme& scheme) {
  return ShapeOfScales(weights.rows(), weights.cols(), scheme);
}

}  // namespace

void CheckLearnsScales(const WeightScheme& scheme, const std::string& name) {
  if (scheme.format->affine()) return;
  throw Error(fmt::format("scales can be learned of the format int alone, found {}: the gradient "
                          "is of evenly spaced codes",
                          scheme.format->name),
              name, "recomputed scales train every format");
}

LearnedScales MakeLearnedScales(const std::string& name, MatrixView<const float> weights,
                                const WeightScheme& scheme) {
  CheckLearnsScales(scheme, name);
  PackedMatrix packed(weights.rows(), weights.cols(), scheme);
  ChooseGrids(weights, {}, packed);
  LearnedScales learned;
  learned.exponent = packed.exponent();
  Matrix<float> scales(packed.scale_rows(), packed.scale_cols());
  for (size_t r = 0; r < scales.rows(); ++r) {
    for (size_t c = 0; c < scales.cols(); ++c) {
      const Affine affine = packed.affine(r, c);
      scales(r, c) = affine.scale;
      learned.zeros.push_back(affine.zero);
    }
  }
  learned.scale = MakeParameter(name + ".scale", scales.view(), false);
  return learned;
}

void RoundByScales(MatrixView<const float> weights, const WeightScheme& scheme,
                   const LearnedScales& learned, MatrixView<float> rounded) {
  const CodeRange codes = Codes(scheme);
  const std::vector<Affine> stored = StoredScales(learned);
  ForRuns(ShapeFor(weights, scheme), weights.rows(),
          [&](size_t r, size_t first, size_t count, size_t scale) {
            const Affine& affine = stored[scale];
            for (size_t c = first; c < first + count; ++c)
              rounded(r, c) = Decode(Encode(weights(r, c), affine, codes), affine);
          });
}

void ScalesBackward(MatrixView<const float> weights, const WeightScheme& scheme,
                    LearnedScales& learned, MatrixView<float> gradient) {
  const CodeRange codes = Codes(scheme);
  const std::vector<Affine> stored = StoredScales(learned);
  std::vector<double> sums(stored.size()), counts(stored.size());
  ForRuns(ShapeFor(weights, scheme), weights.rows(),
          [&](size_t r, size_t first, size_t count, size_t scale) {
            const Affine& affine = stored[scale];
            const float lowest = static_cast<float>(codes.min - affine.zero);
            const float highest = static_cast<float>(codes.max - affine.zero);
            counts[scale] += static_cast<double>(count);
            for (size_t c = first; c < first + count; ++c) {
              const float q = weights(r, c) / affine.scale;
              float& g = gradient(r, c);
              const bool inside = q > lowest && q < highest;
              const float slope = inside ? RoundSmall(q) - q : std::clamp(q, lowest, highest);
              sums[scale] += static_cast<double>(g) * static_cast<double>(slope);
              if (!inside) g = 0;
            }
          });
  const double most = (1 << (scheme.bits - 1)) - 1;
  for (size_t i = 0; i < sums.size(); ++i)
    learned.scale.gradient.data()[i] = static_cast<float>(sums[i] / std::sqrt(counts[i] * most));
}

PackedMatrix PackByScales(MatrixView<const float> weights, const WeightScheme& scheme,
                          const LearnedScales& learned) {
  PackedMatrix packed(weights.rows(), weights.cols(), scheme);
  packed.set_exponent(learned.exponent);
  const CodeRange codes = Codes(scheme);
  const std::vector<Affine> stored = StoredScales(learned);
  for (size_t i = 0; i < stored.size(); ++i)
    packed.set_affine(i / packed.scale_cols(), i % packed.scale_cols(), stored[i]);
  std::vector<uint8_t> row(weights.cols());
  ForRuns(packed.scales(), weights.rows(), [&](size_t r, size_t first, size_t count, size_t scale) {
    for (size_t c = first; c < first + count; ++c)
      row[c] = static_cast<uint8_t>(Encode(weights(r, c), stored[scale], codes));
    if (first + count == weights.cols()) packed.SetCodes(r, row);
  });
  return packed;
}

}  // namespace quantref
