#include "harness/method/calibrated_block.h"

#include <algorithm>
#include <cmath>

#include "harness/base/check.h"
#include "harness/base/copy_matrix.h"
#include "harness/base/setting_error.h"

namespace quantref {
namespace {

void MultiplyColumns(Linear& linear, std::span<const float> scales) {
  Matrix<float> values = linear.weight.Decode();
  QR_CHECK_EQ(values.cols(), scales.size());
  for (size_t r = 0; r < values.rows(); ++r) {
    for (size_t c = 0; c < values.cols(); ++c) values(r, c) *= scales[c];
  }
  linear.weight = Weight(std::move(values));
}

void DivideRows(Linear& linear, size_t first, std::span<const float> scales) {
  Matrix<float> values = linear.weight.Decode();
  QR_CHECK_LE(first + scales.size(), values.rows());
  for (size_t r = 0; r < scales.size(); ++r) {
    for (float& value : values.view().row_span(first + r)) value /= scales[r];
  }
  linear.weight = Weight(std::move(values));
  if (linear.bias.empty()) return;
  for (size_t r = 0; r < scales.size(); ++r) linear.bias[first + r] /= scales[r];
}

void Divide(std::vector<float>& gain, std::span<const float> scales) {
  QR_CHECK_EQ(gain.size(), scales.size());
  for (size_t j = 0; j < gain.size(); ++j) gain[j] /= scales[j];
}

}  // namespace

DataNeeds DataNeeds::operator|(const DataNeeds& other) const {
  return {.channel_max = channel_max || other.channel_max,
          .channel_mean = channel_mean || other.channel_mean,
          .gram = gram || other.gram,
          .gram_blocks = gram_blocks || other.gram_blocks,
          .cross = cross || other.cross,
          .kept = std::max(kept, other.kept),
          .true_sequential = true_sequential || other.true_sequential};
}

size_t KeptRows(size_t samples, size_t length, size_t tokens) {
  const size_t from = std::min(samples, kKeptSamples);
  return from == 0 ? 0 : std::min(length, (tokens + from - 1) / from);
}

std::vector<MatrixView<const float>> InputStatistics::Kept(size_t asked) const {
  std::vector<MatrixView<const float>> views;
  for (const Matrix<float>& x : kept)
    views.push_back(x.view().Rows(0, KeptRows(kept.size(), x.rows(), asked)));
  return views;
}

InputStatistics InputStatistics::Copy() const {
  InputStatistics copy{tokens, channel_max, channel_mean, CopyOf(gram), CopyOf(cross), {}};
  for (const Matrix<float>& x : kept) copy.kept.push_back(CopyOf(x));
  return copy;
}

void InputStatistics::DivideChannels(std::span<const float> scales) {
  for (size_t j = 0; j < channel_max.size(); ++j) channel_max[j] /= scales[j];
  for (size_t j = 0; j < channel_mean.size(); ++j) {
    channel_mean[j] /= static_cast<double>(scales[j]);
  }
  for (Matrix<double>* products : {&gram, &cross}) {
    for (size_t i = 0; i < products->rows(); ++i) {
      for (size_t j = 0; j < products->cols(); ++j)
        (*products)(i, j) /= static_cast<double>(scales[i]) * static_cast<double>(scales[j]);
    }
  }
  for (Matrix<float>& x : kept) {
    for (size_t t = 0; t < x.rows(); ++t) {
      for (size_t j = 0; j < x.cols(); ++j) x(t, j) /= scales[j];
    }
  }
}

bool CalibratedBlock::Quantizes(Tap tap) const {
  const std::vector<LinearIndex> readers = shape.layout().Readers(tap);
  return std::any_of(readers.begin(), readers.end(),
                     [&](LinearIndex reader) { return schemes[reader].has_value(); });
}

std::optional<ActivationFormat> CalibratedBlock::FormatFor(
    std::span<const float> channel_max) const {
  std::optional<ActivationFormat> format = DynamicFormat(activations);
  if (format && !activations->dynamic) {
    QR_CHECK(!channel_max.empty());
    format->static_scale =
        format->ScaleFor(*std::max_element(channel_max.begin(), channel_max.end()));
  }
  return format;
}

void ScaleChannels(BlockWeights& block, const ScalingGroup& group, std::span<const float> scales) {
  for (const float scale : scales) QR_CHECK(scale > 0 && std::isfinite(scale));
  if (group.of_norm()) {
    const NormIndex norm = std::get<NormIndex>(group.producer);
    Divide(block.norms[norm], scales);
    if (!block.norm_biases[norm].empty()) Divide(block.norm_biases[norm], scales);
  } else {
    const LinearRows& rows = std::get<LinearRows>(group.producer);
    DivideRows(block.linears[rows.linear], rows.first, scales);
  }
  for (const LinearIndex consumer : group.consumers)
    MultiplyColumns(block.linears[consumer], scales);
}

void StoreAsBefore(const Linear& before, Linear& linear) {
  const Matrix<float> values = linear.weight.Decode(), old = before.weight.Decode();
  if (std::equal(values.data(), values.data() + values.rows() * values.cols(), old.data())) {
    linear.weight = before.weight;
  } else if (before.weight.stored_in_16_bits()) {
    linear.weight = Weight::RoundedToHalf(values.view(), linear.name);
  }
}

void Fold(CalibratedBlock& block, const ScalingGroup& group, std::span<const float> scales) {
  const auto is_clipped = [&](LinearIndex linear) { return block.limits[linear].rows() > 0; };
  bool clipped = !group.of_norm() && is_clipped(std::get<LinearRows>(group.producer).linear);
  for (const LinearIndex consumer : group.consumers) clipped |= is_clipped(consumer);
  if (clipped) {
    throw SettingError("a transform scales weights that an earlier one has clipped", "transforms",
                       "put the one that clips last, or switch its clipping off");
  }
  ScaleChannels(block.weights, group, scales);
  block.input(group.tap).DivideChannels(scales);
}

void Note(CalibratedBlock& block, Tap tap, const std::string& note) {
  for (const LinearIndex reader : block.shape.layout().Readers(tap)) {
    if (!block.schemes[reader]) continue;
    std::string& notes = block.notes[reader];
    notes += (notes.empty() ? "" : ", ") + note;
  }
}

}  // namespace quantref
