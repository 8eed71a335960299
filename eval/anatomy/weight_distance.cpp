#include "eval/anatomy/weight_distance.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <variant>
#include <vector>

#include "harness/base/cancel.h"
#include "harness/base/matrix.h"
#include "harness/quant/format.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {
namespace {

// Calls f with each row of both, and its number.
template <typename F>
void ForRowPairs(const Weight& own, const Weight& reference, size_t rows, const F& f) {
  constexpr size_t kAtOnce = 64;
  Matrix<float> a(kAtOnce, own.cols()), b(kAtOnce, own.cols());
  for (size_t first = 0; first < rows; first += kAtOnce) {
    ThrowIfCancelled();
    const size_t count = std::min(kAtOnce, rows - first);
    own.DecodeRows(first, a.view().Rows(0, count));
    reference.DecodeRows(first, b.view().Rows(0, count));
    for (size_t r = 0; r < count; ++r)
      f(std::span<const float>(a.view().row_span(r)), std::span<const float>(b.view().row_span(r)),
        first + r);
  }
}

int BitsOf(const StoredCodes& codes) {
  if (const auto* scheme = std::get_if<WeightScheme>(&codes))
    return scheme->format->evenly_spaced() ? scheme->bits : scheme->format->bits();
  const auto* blocks = std::get_if<BlockScheme>(&codes);
  return blocks == nullptr ? 0 : blocks->bits;
}

// Inputs of a row that share a scale; of a block's groups each has its own.
size_t GroupOf(const StoredCodes& codes, size_t cols) {
  size_t group = cols;
  if (const auto* scheme = std::get_if<WeightScheme>(&codes)) {
    if (scheme->granularity == Granularity::kGroup) group = scheme->group;
  } else if (const auto* blocks = std::get_if<BlockScheme>(&codes)) {
    if (blocks->group > 0) group = blocks->group;
  }
  return std::min(group, cols);
}

size_t BlockOf(const StoredCodes& codes, size_t cols) {
  const auto* blocks = std::get_if<BlockScheme>(&codes);
  return blocks != nullptr && blocks->block > 0 ? std::min(blocks->block, cols)
                                                : GroupOf(codes, cols);
}

double SquaresOfOwnSteps(const PackedMatrix& packed) {
  double sum = 0;
  for (size_t r = 0; r < packed.scale_rows(); ++r) {
    for (size_t c = 0; c < packed.scale_cols(); ++c) {
      const double step = packed.affine(r, c).scale;
      sum += step * step;
    }
  }
  const auto scales = static_cast<double>(packed.scale_rows() * packed.scale_cols());
  return sum / scales * static_cast<double>(packed.rows()) * static_cast<double>(packed.cols());
}

float LargestOf(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  return largest;
}

// As if codes were spread evenly over what a group holds, up to its largest. Those of tables are
// closer where most weights are: NF4's roundings are as far from this as INT4's from their steps.
// FP8's are further, by little.
double SquaresOfSpreadSteps(const Weight& weight, int bits, size_t group) {
  double sum = 0;
  ForRowPairs(weight, weight, weight.rows(),
              [&](std::span<const float> values, std::span<const float>, size_t) {
                for (size_t c = 0; c < values.size(); c += group) {
                  const size_t count = std::min(group, values.size() - c);
                  const double step = 2.0 * LargestOf(values.subspan(c, count)) / ((1 << bits) - 1);
                  sum += static_cast<double>(count) * step * step;
                }
              });
  return sum;
}

// Rounding to the nearest code leaves a twelfth of a step's square; GPTQ, where later weights make
// up for the errors of earlier ones, up to a fifth (2 to 4 bits, groups and rows), with orders of
// inputs that are lost half and more at 2 and 3 bits, several at 4, and zero points one off a
// whole. Weights that were trained on are further from it at 8 bits, but not far from the
// reference: by 1 % of its squares where each had moved by a tenth of their deviation. A lost order
// leaves 15 % and more. What is pruned is not rounded.
constexpr double kMostOfSteps = 0.5, kMostTuned = 0.03;

double Errors(const SquaresOf& sums) { return sums.differences - sums.zeroed; }

bool IsRounding(const SquaresOf& sums, const Rounding& rounding) {
  return Errors(sums) <= kMostOfSteps * rounding.squares_of_steps;
}

bool IsNear(const SquaresOf& sums, const Rounding& rounding) {
  return IsRounding(sums, rounding) || Errors(sums) <= kMostTuned * sums.reference;
}

// Roundings are no longer than what they round (slopes of 0.69 to 1.01 by RTN and GPTQ at 2 to 8
// bits), nor shorter than it would be best: factors of 1.01 and less. What rounds to means of
// magnitudes, with codes of 1 or 2 bits, may be: up to 1.5 where weights have long tails.
bool HasItsLength(const SquaresOf& sums, const Rounding& rounding) {
  constexpr double kMostSlope = 1.25, kMostFactor = 1.3, kMostCoarseFactor = 1.6;
  constexpr int kCoarseBits = 2;
  return sums.Slope() <= kMostSlope &&
         sums.BestFactor() <= (rounding.bits > kCoarseBits ? kMostFactor : kMostCoarseFactor);
}

struct ChannelSums {
  double own = 0, products = 0, reference = 0, zeroed = 0;

  // That brings the reference's nearest; 0 where there is none.
  double Factor() const { return reference > 0 ? products / reference : 0; }
};

std::vector<ChannelSums> SumsByChannel(Channels channels, const Weight& own,
                                       const Weight& reference, size_t rows) {
  const bool of_inputs = channels == Channels::kInputs;
  std::vector<ChannelSums> all(of_inputs ? own.cols() : rows);
  ForRowPairs(own, reference, rows,
              [&](std::span<const float> a, std::span<const float> b, size_t row) {
                for (size_t i = 0; i < a.size(); ++i) {
                  const double y = a[i], x = b[i];
                  ChannelSums& channel = all[of_inputs ? i : row];
                  channel.own += y * y;
                  channel.products += y * x;
                  channel.reference += x * x;
                  if (y == 0) channel.zeroed += x * x;
                }
              });
  return all;
}

SquaresOf Fitted(const std::vector<ChannelSums>& all) {
  SquaresOf sums;
  for (const ChannelSums& channel : all) {
    const double factor = channel.Factor(), fitted = factor * channel.products;
    sums += {.differences = channel.own - fitted,
             .own = channel.own,
             .reference = fitted,
             .zeroed = factor * factor * channel.zeroed};
  }
  return sums;
}

// Whether factors and their partners are inverse to each other, by their logarithms: the sums of
// each pair are small beside the differences. Scales that are not theirs have partners of 1, so
// that both are alike. Coarse codes make weights shorter, the more the longer their tails: sums of
// right folds had means of about 0 with 8 bits, -0.3 to 0 with 4, -0.4 and -0.77 with 3 and 2. With
// 2 bits it is more than small factors are, so that only what differs among channels counts.
bool AreInverse(const std::vector<ChannelSums>& from, const std::vector<ChannelSums>& to,
                const std::vector<size_t>& outputs, int bits) {
  struct Limits {
    double least_mean, most_mean, most_opposite, most_share;
  };
  const Limits limits = bits < 4   ? Limits{-0.8, 0.22, 0.01, 0.25}
                        : bits < 8 ? Limits{-0.4, 0.22, 0.01, 0.15}
                                   : Limits{-0.1, 0.1, 0, 0.15};
  double count = 0, opposite = 0, sum = 0, sum_squares = 0, difference = 0, difference_squares = 0;
  for (size_t c = 0; c < to.size(); ++c) {
    const double f = from[outputs[c]].Factor(), g = to[c].Factor();
    opposite += f * g < 0;
    if (!(f * g > 0)) continue;  // a dead channel, or one that was pruned
    const double log_f = std::log(std::fabs(f)), log_g = std::log(std::fabs(g));
    const double s = log_f + log_g, d = log_f - log_g;
    ++count;
    sum += s;
    sum_squares += s * s;
    difference += d;
    difference_squares += d * d;
  }
  if (count < 2 || opposite > limits.most_opposite * count) return false;
  const double mean = sum / count;
  if (mean < limits.least_mean || mean > limits.most_mean) return false;
  if (bits <= 2) {
    sum_squares -= sum * mean;
    difference_squares -= difference * difference / count;
  }
  return sum_squares <= limits.most_share * difference_squares;
}

// Of two roundings the fewer, plain numbers having most.
int FewerBits(const Rounding& a, const Rounding& b) {
  constexpr int kPlain = 32;
  return std::min(a.bits > 0 ? a.bits : kPlain, b.bits > 0 ? b.bits : kPlain);
}

// The direction of GPTQ's roundings to 2 bits had correlations of 0.64 and more (wikilm-2m, groups
// of 128 and rows), also where the squared error was 1.2 of the squares. That of n unrelated
// weights is about 1 / sqrt(n), and with a factor for each input 1 / sqrt(rows).
constexpr double kLeastCorrelation = 0.25;

}  // namespace

double SquaresOf::Correlation() const {
  const double both = own * reference;
  return both > 0 ? Products() / std::sqrt(both) : 0;
}

void SquaresOf::operator+=(const SquaresOf& more) {
  differences += more.differences;
  own += more.own;
  reference += more.reference;
  zeroed += more.zeroed;
}

SquaresOf SquaresBetween(const Weight& own, const Weight& reference, size_t rows) {
  SquaresOf sums;
  ForRowPairs(own, reference, rows,
              [&](std::span<const float> a, std::span<const float> b, size_t) {
                for (size_t i = 0; i < a.size(); ++i) {
                  const double y = a[i], x = b[i], d = y - x;
                  sums.differences += d * d;
                  sums.own += y * y;
                  sums.reference += x * x;
                  if (y == 0) sums.zeroed += x * x;
                }
              });
  return sums;
}

SquaresOf SquaresUpTo(Channels channels, const Weight& own, const Weight& reference, size_t rows) {
  return Fitted(SumsByChannel(channels, own, reference, rows));
}

bool FoldsBetween(const ComparedMatrix& from, const ComparedMatrix& to,
                  const std::vector<size_t>& outputs) {
  const std::vector<ChannelSums> of_outputs = SumsByChannel(Channels::kOutputs, *from.own,
                                                            *from.reference, from.own->rows()),
                                 of_inputs = SumsByChannel(Channels::kInputs, *to.own,
                                                           *to.reference, to.own->rows());
  return IsNear(Fitted(of_outputs), from.rounding) && IsNear(Fitted(of_inputs), to.rounding) &&
         AreInverse(of_outputs, of_inputs, outputs, FewerBits(from.rounding, to.rounding));
}

// Lengths and products with the row before tell it from numbers of their own: these have other
// products, roundings of the same basis a correlation near 1.
bool IsTurned(const Weight& own, const Weight& reference) {
  constexpr size_t kRows = 4096;
  constexpr double kMostAlike = 0.9, kMostOfLengths = 0.01, kMostOfProducts = 0.1;
  const size_t rows = std::min(kRows, own.rows());
  if (SquaresBetween(own, reference, rows).Correlation() > kMostAlike) return false;
  struct Kept {
    double differences = 0, squares = 0;
    void Add(double a, double b) {
      differences += (a - b) * (a - b);
      squares += b * b;
    }
    bool Holds(double most) const { return differences <= most * squares; }
  } lengths, products;
  std::vector<float> own_before(own.cols()), before(own.cols());
  const auto dot = [](std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
  };
  ForRowPairs(own, reference, rows,
              [&](std::span<const float> a, std::span<const float> b, size_t) {
                lengths.Add(dot(a, a), dot(b, b));
                products.Add(dot(a, own_before), dot(b, before));
                std::ranges::copy(a, own_before.begin());
                std::ranges::copy(b, before.begin());
              });
  return lengths.squares > 0 && lengths.Holds(kMostOfLengths) && products.Holds(kMostOfProducts);
}

Rounding RoundingOf(const Weight& weight, const StoredCodes& codes) {
  const int bits = BitsOf(codes);
  if (bits == 0) return {};
  const PackedMatrix* const packed = weight.packed();
  if (packed != nullptr && packed->scheme().format->affine())
    return {bits, SquaresOfOwnSteps(*packed), true};
  return {bits, SquaresOfSpreadSteps(weight, bits, GroupOf(codes, weight.cols()))};
}

Nearness JudgeNearness(const SquaresOf& sums, const Rounding& rounding) {
  if (sums.differences == 0) return Nearness::kRounded;
  const bool beyond_zeros = sums.differences >= sums.reference;
  if (beyond_zeros && sums.Correlation() < kLeastCorrelation) return Nearness::kUnrelated;
  if (!HasItsLength(sums, rounding)) return Nearness::kScaled;
  if (!IsNear(sums, rounding)) return Nearness::kFar;
  if (rounding.of_scales && !IsRounding(sums, rounding)) return Nearness::kTuned;
  return beyond_zeros ? Nearness::kCoarse : Nearness::kRounded;
}

bool UnrelatedUpToInputs(const Weight& own, const Weight& reference) {
  const SquaresOf sums = SquaresUpTo(Channels::kInputs, own, reference, own.rows());
  if (sums.own == 0) return SquaresBetween(own, reference, own.rows()).reference > 0;
  return sums.Correlation() < kLeastCorrelation;
}

size_t CountLostGroups(const Weight& own, const Weight& reference, const StoredCodes& codes) {
  // Of the matrix's mean square: what is less is next to 0, as scales in FP16 have it.
  constexpr double kNextToZero = 0.01;
  const size_t group = BlockOf(codes, own.cols());
  std::vector<double> lost;  // mean squares of the reference
  double squares = 0;
  ForRowPairs(own, reference, own.rows(),
              [&](std::span<const float> a, std::span<const float> b, size_t) {
                for (size_t c = 0; c < a.size(); c += group) {
                  const size_t count = std::min(group, a.size() - c);
                  double sum = 0;
                  for (const float x : b.subspan(c, count)) sum += static_cast<double>(x) * x;
                  squares += sum;
                  if (LargestOf(a.subspan(c, count)) == 0)
                    lost.push_back(sum / static_cast<double>(count));
                }
              });
  const double mean = squares / (static_cast<double>(own.rows()) * static_cast<double>(own.cols()));
  return static_cast<size_t>(
      std::ranges::count_if(lost, [&](double of) { return of > kNextToZero * mean; }));
}

}  // namespace quantref
