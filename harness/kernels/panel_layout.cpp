#include "harness/kernels/panel_layout.h"

#include <algorithm>
#include <cmath>

#include "harness/base/align.h"
#include "harness/kernels/qgemm_rows.h"
#include "harness/quant/scale_shape.h"

namespace quantref {

WholeLevels WholeLevelsOf(const LevelTable& levels) {
  WholeLevels whole;
  float unit = levels.Largest();
  for (size_t c = 0; c < levels.size(); ++c) {
    if (levels[c] != 0) unit = std::min(unit, std::fabs(levels[c]));
  }
  const float lowest = levels.Ranked(0) / unit;
  if (std::ldexp(1.0f, std::ilogb(unit)) != unit || lowest < -float{kMostLooked}) return {};
  whole.zero = static_cast<uint8_t>(std::max(-lowest, 0.0f));
  for (size_t c = 0; c < levels.size(); ++c) {
    const float number = levels[c] / unit + static_cast<float>(whole.zero);
    if (number != std::nearbyint(number) || number > float{kMostLooked}) return {};
    whole.look_up[c] = static_cast<uint8_t>(number);
  }
  whole.unit = unit;
  return whole;
}

bool IsTernary(const NumberFormat& format) {
  const LevelTable& levels = format.levels;
  return levels.size() == 4 && levels[0] == 0 && levels[1] == 1 && levels[3] == -1;
}
bool IsEvenlySpaced(const NumberFormat& format) {
  return format.evenly_spaced() || IsTernary(format);
}

CodeForm FormOf(const WeightScheme& scheme) {
  if (IsEvenlySpaced(*scheme.format)) return CodeForm::kPlain;
  const bool in_blocks =
      scheme.granularity != Granularity::kGroup || scheme.group % kBlockTerms == 0;
  const bool whole = in_blocks && WholeLevelsOf(scheme.format->levels).unit > 0;
  return whole ? CodeForm::kLooked : CodeForm::kCodebook;
}

QgemmWeights PanelLayout(size_t rows, size_t cols, const WeightScheme& scheme) {
  constexpr size_t kAligned = 64;
  const ScaleShape shape = ShapeOfScales(rows, cols, scheme);
  QgemmWeights w{};
  w.rows = rows;
  w.cols = cols;
  w.bits = scheme.bits > 4 ? 8 : scheme.bits;
  w.form = FormOf(scheme);
  w.wide_scales = w.form != CodeForm::kPlain;
  if (w.form == CodeForm::kLooked)
    std::copy_n(WholeLevelsOf(scheme.format->levels).look_up, kLevels, w.look_up);
  w.group = shape.cols_each;
  w.groups = shape.cols;
  const bool codebook = w.form == CodeForm::kCodebook;
  const size_t filled = RoundUp(w.group, codebook ? kBlockTerms / 2 : kBlockTerms);
  w.step = codebook                          ? kBlockTerms / 2
           : filled % (2 * kBlockTerms) == 0 ? 2 * kBlockTerms
                                             : kBlockTerms;
  w.steps = filled / w.step;
  w.last_steps = RoundUp(shape.Size(shape.cols - 1), w.step) / w.step;
  w.scales_at = RoundUp(RowTerms(w) * kPanelRows * static_cast<size_t>(w.bits) / 8, kAligned);
  w.zeros_at = w.scales_at + w.groups * kPanelRows * ScaleBytes(w);
  size_t end = w.zeros_at + (codebook ? 0 : w.groups * kPanelRows);
  if (scheme.format->zero == ZeroKind::kHalf) {
    w.rests_at = end = RoundUp(end, sizeof(float));
    end += w.groups * kPanelRows * sizeof(float);
  }
  w.panel_bytes = RoundUp(end, kAligned);
  return w;
}

size_t PanelBytes(const QgemmWeights& w) {
  return RoundUp(w.rows, kPanelRows) / kPanelRows * w.panel_bytes;
}

}  // namespace quantref
