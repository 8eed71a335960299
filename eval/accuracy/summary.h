#pragma once

#include <optional>
#include <span>
#include <vector>

#include "eval/accuracy/position.h"
#include "eval/stats/stats.h"
#include "eval/text/protocol.h"

namespace quantref {

// The measured windows of one model: what a ScoreTable's row and the windows' sizes give to the
// statistics.
struct MeasuredWindows {
  std::vector<const WindowScores*> scores;
  std::vector<Window> windows;
};
MeasuredWindows Measured(std::span<const std::optional<WindowScores>> row,
                         std::span<const Window> windows);

// A mean per scored token. The interval is absent for fewer than kMinBlocks windows.
struct Estimate {
  double mean = 0;
  std::optional<Interval> interval;  // over windows
  double independent_error = 0;      // the standard error if tokens were independent
};

// Perplexity of one model. PPL = exp(mean NLL); its interval is that of the mean NLL,
// exponentiated.
struct Perplexity {
  Estimate nll;  // nats per scored token
  double ppl = 0;
  // The NLL of the scored tokens over the words and bytes of what these stand for in the text that
  // was tokenized. Nothing where they hold no word, or so few that it is beyond any number.
  std::optional<double> word_ppl{}, bits_per_byte{};
};
Perplexity SummarizePerplexity(const MeasuredWindows& measured, const TokenStream& stream);

// Its part that is the mean NLL alone.
Estimate MeanNll(const MeasuredWindows& measured);

// Of the input channels of a tap, those that are outliers (OutlierRule): their share of so many
// channels, on average over the windows and in the one that has most.
struct OutlierShare {
  double mean = 0, most = 0;
};
OutlierShare SummarizeOutliers(const MeasuredWindows& measured, size_t place, size_t channels);

// A model beside the reference, position by position.
struct Comparison {
  Estimate
      delta_nll;  // > 0: the model is worse. The PPL ratio is its exponential, the interval too
  Estimate kl;    // nats
  Estimate top1;  // share of positions with the same most likely token
  double minimum_detectable =
      0;  // the smallest mean NLL difference that this text would likely have shown
  double kl_p50 = 0, kl_p90 = 0, kl_p99 = 0, kl_p999 = 0, kl_max = 0;
};
// Its part that is the difference of the mean NLLs alone.
Estimate MeanDelta(const MeasuredWindows& model, const MeasuredWindows& reference);
Comparison SummarizeComparison(const MeasuredWindows& model, const MeasuredWindows& reference);

// What else a record says of a model beside the reference: a row a figure, from the sums of its
// windows.
struct PlainFigure {
  const char* field;        // of the record's `accuracy`
  bool Metrics::*measured;  // where this is
  double (*of)(const MeasuredWindows& model);
};
std::span<const PlainFigure> PlainFigures();

// Mean NLL of a minus that of b, paired window by window. Nothing for too few windows.
std::optional<Interval> PairedDifference(const MeasuredWindows& a, const MeasuredWindows& b);

}  // namespace quantref
