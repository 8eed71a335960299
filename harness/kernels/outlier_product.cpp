#include "harness/kernels/outlier_product.h"

#include <algorithm>
#include <cmath>

#include "harness/base/align.h"
#include "harness/base/check.h"
#include "harness/kernels/attention.h"

namespace quantref {
namespace {

constexpr size_t kBlock = 128;      // channels whose sums are added to y together
constexpr size_t kNearPanels = 16;  // of W_O, unpacked at a time: with kBlock they stay in the L2
constexpr size_t kNearTokens = 48;  // and so many rows of x_O in the L1 cache

// A block of channels for some panels, as the kernel reads it: [panel][channel][output].
struct OutlierBlock {
  size_t first, count;  // of the channels
  size_t first_panel, panels;
  float* weights;

  float* Panel(size_t p) const { return weights + p * count * kPanelRows; }
};

void UnpackCodes(const TiledMatrix& w, std::span<const uint32_t> positions,
                 const OutlierBlock& block) {
  for (size_t p = 0; p < block.panels; ++p)
    w.DecodeInputs(block.first_panel + p, positions.subspan(block.first, block.count),
                   block.Panel(p));
}

void UnpackHalves(const DenseRows& by_channel, std::span<const uint32_t> channels,
                  const OutlierBlock& block, const VectorOps& ops) {
  const auto* halves = static_cast<const uint16_t*>(by_channel.data);
  for (size_t k = 0; k < block.count; ++k) {
    const uint16_t* row = halves + channels[block.first + k] * by_channel.cols;
    for (size_t p = 0; p < block.panels; ++p) {
      const size_t at = (block.first_panel + p) * kPanelRows;
      ops.half_to_float(row + at, block.Panel(p) + k * kPanelRows,
                        std::min(kPanelRows, by_channel.cols - at));
    }
  }
}

// What one block adds to y.
void AddBlock(const AttentionKernels& kernels, MatrixView<const float> x, const OutlierBlock& block,
              MatrixView<float> y) {
  float sums[AttentionKernels::kMostQueries * kPanelRows];
  const size_t step = std::max(kernels.queries, kNearTokens / kernels.queries * kernels.queries);
  for (size_t begin = 0; begin < y.rows(); begin += step) {
    for (size_t p = 0; p < block.panels; ++p) {
      const size_t at = (block.first_panel + p) * kPanelRows;
      const size_t outputs = std::min(kPanelRows, y.cols() - at);
      for (size_t t = begin; t < std::min(begin + step, y.rows()); t += kernels.queries) {
        kernels.mix(x.row(t) + block.first, x.stride(), block.Panel(p), block.count, sums);
        for (size_t g = 0; g < std::min(kernels.queries, y.rows() - t); ++g)
          for (size_t i = 0; i < outputs; ++i) y(t + g, at + i) += sums[g * kPanelRows + i];
      }
    }
  }
}

}  // namespace

std::span<const uint32_t> OutlierFinder::Find(MatrixView<const float> x, double threshold) {
  const float least = static_cast<float>(threshold);
  channels_.clear();
  found_.assign(x.cols(), 0);
  for (size_t t = 0; t < x.rows(); ++t) {
    const std::span<const float> row = x.row_span(t);
    if (Ops().abs_max(row.data(), row.size()) < least) continue;
    for (size_t j = 0; j < row.size(); ++j)
      found_[j] = static_cast<uint8_t>(found_[j] | (std::fabs(row[j]) >= least));
  }
  for (size_t j = 0; j < found_.size(); ++j) {
    if (found_[j] != 0) channels_.push_back(static_cast<uint32_t>(j));
  }
  return channels_;
}

float LeaveOut(const OutlierRule& rule, std::span<const uint32_t> channels,
               std::span<const float> row, std::span<float> rest) {
  std::copy(row.begin(), row.end(), rest.begin());
  const float least = static_cast<float>(rule.threshold);
  for (const uint32_t channel : channels) {
    const bool below = std::fabs(row[channel]) < least;
    if (!below || rule.weights == OutlierRule::Weights::kFp16) rest[channel] = 0;
  }
  const float absmax = Ops().abs_max(rest.data(), rest.size());
  for (const uint32_t channel : channels) rest[channel] = 0;
  return absmax;
}

void OutlierProduct::Pack(MatrixView<const float> x, const TiledMatrix& w,
                          std::span<const uint32_t> channels, Isa isa) {
  QR_CHECK_EQ(x.cols(), w.cols());
  channels_.assign(channels.begin(), channels.end());
  positions_ = channels_;
  const std::span<const uint32_t> order = w.order();
  for (size_t p = 0; p < order.size(); ++p) {
    const auto found = std::lower_bound(channels_.begin(), channels_.end(), order[p]);
    if (found != channels_.end() && *found == order[p])
      positions_[static_cast<size_t>(found - channels_.begin())] = static_cast<uint32_t>(p);
  }
  const size_t rows = RoundUp(x.rows(), AttentionKernelsFor(isa).queries);
  if (x_.rows() * x_.cols() < rows * channels.size()) x_ = Matrix<float>(rows, channels.size());
  const MatrixView<float> to(x_.data(), rows, channels.size());
  for (size_t t = 0; t < rows; ++t) {
    for (size_t k = 0; k < channels.size(); ++k) to(t, k) = t < x.rows() ? x(t, channels[k]) : 0;
  }
}

void OutlierProduct::Add(const TiledMatrix& w, const std::optional<DenseRows>& by_channel,
                         size_t first, size_t count, MatrixView<float> y, Matrix<float>& scratch,
                         Isa isa) const {
  QR_CHECK_EQ(first % kPanelRows, 0u);
  QR_CHECK_EQ(y.cols(), w.rows());
  if (by_channel) {
    QR_CHECK(by_channel->type == DenseRows::Type::kFp16);
    QR_CHECK(by_channel->rows == w.cols() && by_channel->cols == w.rows());
  }
  const AttentionKernels& kernels = AttentionKernelsFor(isa);
  const MatrixView<const float> x(x_.data(), RoundUp(y.rows(), kernels.queries), channels_.size());
  const size_t end = (first + count + kPanelRows - 1) / kPanelRows;
  if (scratch.rows() * scratch.cols() < kNearPanels * kBlock * kPanelRows)
    scratch = Matrix<float>(kNearPanels, kBlock * kPanelRows);
  for (size_t panel = first / kPanelRows; panel < end; panel += kNearPanels) {
    for (size_t k = 0; k < channels_.size(); k += kBlock) {
      const OutlierBlock block{k, std::min(kBlock, channels_.size() - k), panel,
                               std::min(kNearPanels, end - panel), scratch.data()};
      if (by_channel) {
        UnpackHalves(*by_channel, channels_, block, OpsFor(isa));
      } else {
        UnpackCodes(w, positions_, block);
      }
      AddBlock(kernels, x, block, y);
    }
  }
}

}  // namespace quantref
