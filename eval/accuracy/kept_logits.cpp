#include "eval/accuracy/kept_logits.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "eval/accuracy/position.h"
#include "harness/base/check.h"
#include "harness/base/half.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

constexpr size_t kFewTop = 20, kManyTop = 200;

// To nearest, ties to even; logits are finite and far from FP32's end.
float RoundToBFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  return std::bit_cast<float>(rounded);
}

using Rounding = float (*)(float);

// A row of logits, rounded; valid until this thread's next call.
std::span<const float> Rounded(std::span<const float> logits, Rounding round) {
  thread_local std::vector<float> row;
  row.resize(logits.size());
  std::transform(logits.begin(), logits.end(), row.begin(), round);
  return row;
}

// sum p (log p - log q) of two rows of logits with these log sums of exponentials.
double Divergence(std::span<const float> a, double log_sum_a, std::span<const float> b,
                  double log_sum_b) {
  return Ops().mean_difference(a.data(), log_sum_a, b.data(), a.size()) + (log_sum_b - log_sum_a);
}

// As KeptPosition has it.
double StepDivergence(std::span<const float> a, double log_sum_a, std::span<const float> b,
                      double log_sum_b) {
  constexpr float kReach = 16, kSteps = 65535;
  const auto [least, most] = std::minmax_element(a.begin(), a.end());
  const float low = std::max(*least, *most - kReach);
  const float step = (*most - low) / kSteps;
  const float low_log = low - static_cast<float>(log_sum_a);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float code = a[i] > low ? std::nearbyint((a[i] - low) / step) : 0;
    const float log_p = low_log + step * code;
    if (log_p <= -kReach) continue;
    const double log_q = static_cast<double>(b[i]) - log_sum_b;
    sum += std::exp(static_cast<double>(log_p)) * (static_cast<double>(log_p) - log_q);
  }
  return sum;
}

struct TopSums {
  double terms = 0, p = 0, q = 0;  // of p log(p / q), p and q
};

// p log(p / q), 0 where p is.
double Term(double p, double q) { return p > 0 ? p * std::log(p / q) : 0; }

// Of all tokens but these. The model's rest is at least what a difference to 1 resolves: less would
// make a large divergence of a rounding error.
double WithRest(const TopSums& top, size_t left_out) {
  constexpr double kResolved = 0x1p-53;
  if (left_out == 0) return top.terms;
  return top.terms + Term(std::max(0.0, 1 - top.p), std::max(kResolved, 1 - top.q));
}

double WithoutRest(const TopSums& top) {
  return top.terms / top.p - std::log(top.p) + std::log(top.q);
}

}  // namespace

KeptPosition::KeptPosition(const ReferencePosition& reference)
    : logits_(reference.logits), log_sum_(reference.log_sum) {
  const VectorOps& ops = Ops();
  const auto log_sum = [&](std::span<const float> row) {
    return ops.log_sum_exp(row.data(), row.size(), nullptr);
  };
  log_sum_fp16_ = log_sum(Rounded(logits_, RoundToHalf));
  log_sum_bf16_ = log_sum(Rounded(logits_, RoundToBFloat));
  std::vector<uint32_t> ids(logits_.size());
  std::iota(ids.begin(), ids.end(), uint32_t{0});
  const size_t count = std::min(kManyTop, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                    [&](uint32_t a, uint32_t b) {
                      return logits_[a] > logits_[b] || (logits_[a] == logits_[b] && a < b);
                    });
  top_.assign(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
}

KeptDivergences KeptPosition::From(std::span<const float> logits) const {
  QR_DCHECK_EQ(logits.size(), logits_.size());
  const double log_sum = Ops().log_sum_exp(logits.data(), logits.size(), nullptr);
  TopSums sums, few;
  for (size_t i = 0; i < top_.size(); ++i) {
    const uint32_t id = top_[i];
    const double log_p = static_cast<double>(logits_[id]) - log_sum_;
    const double log_q = static_cast<double>(logits[id]) - log_sum;
    const double p = std::exp(log_p);
    sums.terms += p * (log_p - log_q);
    sums.p += p;
    sums.q += std::exp(log_q);
    if (i + 1 == std::min(kFewTop, top_.size())) few = sums;
  }
  const size_t vocabulary = logits.size();
  return {Divergence(Rounded(logits_, RoundToHalf), log_sum_fp16_, logits, log_sum),
          Divergence(Rounded(logits_, RoundToBFloat), log_sum_bf16_, logits, log_sum),
          StepDivergence(logits_, log_sum_, logits, log_sum),
          WithRest(few, vocabulary - std::min(kFewTop, vocabulary)),
          WithoutRest(few),
          WithRest(sums, vocabulary - top_.size())};
}

}  // namespace quantref
