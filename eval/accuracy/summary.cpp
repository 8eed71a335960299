#include "eval/accuracy/summary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "harness/base/check.h"

namespace quantref {
namespace {

template <typename Field>
std::vector<BlockSum> Blocks(const MeasuredWindows& measured, const Field& field) {
  std::vector<BlockSum> blocks;
  for (size_t w = 0; w < measured.scores.size(); ++w) {
    blocks.push_back({field(w), static_cast<double>(measured.windows[w].scored())});
  }
  return blocks;
}

template <typename Field, typename Squares>
Estimate EstimateMean(const MeasuredWindows& measured, const Field& field, const Squares& squares) {
  const std::vector<BlockSum> blocks = Blocks(measured, field);
  double sum = 0, sum_squares = 0, count = 0;
  for (size_t w = 0; w < blocks.size(); ++w) {
    sum += blocks[w].sum;
    sum_squares += squares(w);
    count += blocks[w].count;
  }
  return {sum / count, MeanInterval(blocks),
          count > 1 ? IndependentStandardError(sum, sum_squares, count) : 0};
}

double Total(const MeasuredWindows& measured, double WindowScores::*field) {
  double sum = 0;
  for (const WindowScores* scores : measured.scores) sum += scores->*field;
  return sum;
}

double ScoredPositions(const MeasuredWindows& measured) {
  double count = 0;
  for (const Window& window : measured.windows) count += static_cast<double>(window.scored());
  return count;
}

double Mean(const MeasuredWindows& measured, double WindowScores::*sum) {
  return Total(measured, sum) / ScoredPositions(measured);
}

std::vector<double> WindowNlls(const MeasuredWindows& measured) {
  std::vector<double> sums;
  for (const WindowScores* scores : measured.scores) sums.push_back(scores->nll);
  return sums;
}

std::vector<double> ScoredEach(const MeasuredWindows& measured) {
  std::vector<double> counts;
  for (const Window& window : measured.windows)
    counts.push_back(static_cast<double>(window.scored()));
  return counts;
}

// A share cannot leave [0, 1], which the interval of one near 1 could.
Estimate WithinUnit(Estimate estimate) {
  if (estimate.interval) {
    estimate.interval->low = std::max(0.0, estimate.interval->low);
    estimate.interval->high = std::min(1.0, estimate.interval->high);
  }
  return estimate;
}

}  // namespace

MeasuredWindows Measured(std::span<const std::optional<WindowScores>> row,
                         std::span<const Window> windows) {
  QR_CHECK_EQ(row.size(), windows.size());
  MeasuredWindows measured;
  for (size_t w = 0; w < row.size(); ++w) {
    if (!row[w]) continue;
    measured.scores.push_back(&*row[w]);
    measured.windows.push_back(windows[w]);
  }
  QR_CHECK(!measured.scores.empty());
  return measured;
}

Estimate MeanNll(const MeasuredWindows& measured) {
  return EstimateMean(
      measured, [&](size_t w) { return measured.scores[w]->nll; },
      [&](size_t w) { return measured.scores[w]->nll_squares; });
}

Estimate MeanDelta(const MeasuredWindows& model, const MeasuredWindows& reference) {
  return EstimateMean(
      model, [&](size_t w) { return model.scores[w]->nll - reference.scores[w]->nll; },
      [&](size_t w) { return model.scores[w]->delta_squares; });
}

Perplexity SummarizePerplexity(const MeasuredWindows& measured, const TokenStream& stream) {
  Perplexity result;
  result.nll = MeanNll(measured);
  result.ppl = std::exp(result.nll.mean);
  const double nll = Total(measured, &WindowScores::nll);
  const ScoredText text = MeasureScoredText(stream, measured.windows);
  const auto if_finite = [](double value) {
    return std::isfinite(value) ? std::optional(value) : std::nullopt;
  };
  result.word_ppl = if_finite(std::exp(nll / text.words));
  result.bits_per_byte = if_finite(nll / std::numbers::ln2 / text.bytes);
  return result;
}

Comparison SummarizeComparison(const MeasuredWindows& model, const MeasuredWindows& reference) {
  QR_CHECK_EQ(model.scores.size(), reference.scores.size());
  Comparison result;
  result.delta_nll = MeanDelta(model, reference);
  result.kl = EstimateMean(
      model, [&](size_t w) { return model.scores[w]->kl; },
      [&](size_t w) { return model.scores[w]->kl_squares; });
  const auto same_top = [&](size_t w) { return model.scores[w]->same_top; };
  result.top1 =
      WithinUnit(EstimateMean(model, same_top, same_top));  // 0 and 1 are their own squares
  if (result.delta_nll.interval) {
    result.minimum_detectable = MinimumDetectable(result.delta_nll.interval->standard_error);
  }
  std::vector<double> kl;
  for (const WindowScores* scores : model.scores)
    kl.insert(kl.end(), scores->kl_values.begin(), scores->kl_values.end());
  if (kl.empty()) return result;
  result.kl_p50 = Quantile(kl, 0.5);
  result.kl_p90 = Quantile(kl, 0.9);
  result.kl_p99 = Quantile(kl, 0.99);
  result.kl_p999 = Quantile(kl, 0.999);
  result.kl_max = *std::max_element(kl.begin(), kl.end());
  return result;
}

std::span<const PlainFigure> PlainFigures() {
  static constexpr PlainFigure kFigures[] = {
      {"probability_change_mean", &Metrics::kl,
       [](const MeasuredWindows& model) { return Mean(model, &WindowScores::probability_change); }},
      {"probability_change_rms", &Metrics::kl,
       [](const MeasuredWindows& model) {
         return std::sqrt(Mean(model, &WindowScores::probability_change_squares));
       }},
  };
  return kFigures;
}

std::optional<Interval> PairedDifference(const MeasuredWindows& a, const MeasuredWindows& b) {
  return MeanInterval(DifferenceBlocks(WindowNlls(a), WindowNlls(b), ScoredEach(a)));
}

OutlierShare SummarizeOutliers(const MeasuredWindows& measured, size_t place, size_t channels) {
  OutlierShare share;
  for (const WindowScores* scores : measured.scores) {
    const double own =
        static_cast<double>(scores->outliers.at(place)) / static_cast<double>(channels);
    share.mean += own / static_cast<double>(measured.scores.size());
    share.most = std::max(share.most, own);
  }
  return share;
}

}  // namespace quantref
