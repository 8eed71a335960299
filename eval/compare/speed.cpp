#include "eval/compare/speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "eval/record/schema.h"
#include "eval/stats/stats.h"

namespace quantref {
namespace {

std::string WhyNotComparableSpeeds(const StoredRecord& a, const StoredRecord& b) {
  for (const RecordField* field : FieldsWith(Role::kSpeedIdentity)) {
    const std::string &before = a.Fact(field->path), &now = b.Fact(field->path);
    if (before != now) return fmt::format("{} differs: {} and {}", field->path, before, now);
  }
  return "";
}

const StoredRoofline* RooflineOf(const StoredSpeed& speed, size_t threads) {
  for (const StoredRoofline& roofline : speed.rooflines) {
    if (roofline.threads == threads) return &roofline;
  }
  return nullptr;
}

// Which of the two runs did not have the machine to itself, or what the machine gave otherwise;
// "" where their figures are those of the programs.
std::string OtherConditions(const StoredSpeed& a, const StoredSpeed& b, size_t threads,
                            double allowed) {
  if (a.busy || b.busy) {
    return fmt::format("the machine was busy: {:.2f} and {:.2f} of two cores free",
                       std::min(a.free_before, a.free_after),
                       std::min(b.free_before, b.free_after));
  }
  const StoredRoofline* before = RooflineOf(a, threads);
  const StoredRoofline* now = RooflineOf(b, threads);
  if (before == nullptr || now == nullptr) return "";
  size_t worst = 0;
  double most = 0;
  for (size_t i = 0; i < before->limits.size(); ++i) {
    if (before->limits[i] <= 0 || now->limits[i] <= 0) continue;
    const double moved = std::abs(std::log(now->limits[i] / before->limits[i]));
    if (moved > most) most = moved, worst = i;
  }
  if (most <= std::log1p(allowed)) return "";
  return fmt::format("the machine itself gave another {}: {:.4g} and {:.4g}",
                     kRooflineLimits[worst], before->limits[worst], now->limits[worst]);
}

double Median(std::vector<double> samples) { return Quantile(samples, 0.5); }

// Decoding multiplies one token at a time, a prefill many.
bool IsOfKind(const KernelName& kernel, const RateName& rate) {
  return kernel.threads == rate.threads && (kernel.tokens == 1) == rate.decode;
}

void BlameKernel(const StoredSpeed& a, const StoredSpeed& b, double tolerance,
                 RateFinding& finding) {
  std::map<KernelName, double> before;
  for (const StoredKernel& kernel : a.kernels) {
    if (IsOfKind(kernel.name, finding.name)) before[kernel.name] = kernel.ns;
  }
  const bool slower = finding.verdict == Verdict::kWorse;
  for (const StoredKernel& kernel : b.kernels) {
    const auto same = before.find(kernel.name);
    if (same == before.end()) continue;
    ++finding.kernels;
    const double ratio = kernel.ns / same->second;
    if (slower ? ratio <= 1 + tolerance : ratio >= 1 - tolerance) continue;
    const bool first = !finding.kernel;
    if (first || (slower ? ratio > finding.kernel->ratio : ratio < finding.kernel->ratio))
      finding.kernel = KernelChange{kernel.name, ratio};
  }
}

Verdict VerdictOf(const Interval& interval, double tolerance) {
  const double low = 1 - tolerance, high = 1 + tolerance;
  if (interval.high < low) return Verdict::kWorse;
  if (interval.low > high) return Verdict::kBetter;
  return interval.low >= low && interval.high <= high ? Verdict::kSame : Verdict::kCannotTell;
}

RateFinding CompareRate(const StoredSpeed& a, const StoredSpeed& b, const StoredRate& before,
                        const StoredRate& now, const SpeedLimits& limits) {
  RateFinding finding{.name = now.name};
  finding.before = Median(before.samples);
  finding.now = Median(now.samples);
  finding.ratio = CompareSamples(before.samples, now.samples);
  finding.why = OtherConditions(a, b, now.name.threads, limits.machine);
  if (finding.why.empty() && !finding.ratio->interval) {
    finding.why = fmt::format("{} and {} samples give no interval, 4 and 4 do",
                              before.samples.size(), now.samples.size());
  }
  finding.verdict = finding.why.empty() ? VerdictOf(*finding.ratio->interval, limits.tolerance)
                                        : Verdict::kCannotTell;
  if (finding.verdict == Verdict::kCannotTell && finding.why.empty())
    finding.why = fmt::format("the interval of the ratio goes beyond 1 ± {:g}", limits.tolerance);
  if (finding.verdict == Verdict::kWorse || finding.verdict == Verdict::kBetter)
    BlameKernel(a, b, limits.tolerance, finding);
  return finding;
}

struct RatePair {
  const StoredRate* before = nullptr;
  const StoredRate* now = nullptr;
};

std::map<RateName, RatePair> MatchRates(const StoredRecord* baseline,
                                        const StoredRecord* candidate) {
  std::map<RateName, RatePair> pairs;
  if (baseline != nullptr && baseline->speed) {
    for (const StoredRate& rate : baseline->speed->rates) pairs[rate.name].before = &rate;
  }
  if (candidate != nullptr && candidate->speed) {
    for (const StoredRate& rate : candidate->speed->rates) pairs[rate.name].now = &rate;
  }
  return pairs;
}

// Why a rate that only one of the records has is not simply new or gone: the other has it on other
// threads.
std::string OtherThreads(const std::map<RateName, RatePair>& pairs, const RateName& name,
                         bool gone) {
  for (const auto& [other, pair] : pairs) {
    const bool across = gone ? pair.before == nullptr : pair.now == nullptr;
    if (!across || other.decode != name.decode || other.tokens != name.tokens) continue;
    const auto [before, now] =
        gone ? std::pair(name.threads, other.threads) : std::pair(other.threads, name.threads);
    return fmt::format("threads differ: {} and {}", before, now);
  }
  return "";
}

RateFinding OneSided(const std::map<RateName, RatePair>& pairs, const RateName& name,
                     const RatePair& pair) {
  const bool gone = pair.now == nullptr;
  RateFinding finding{.name = name, .verdict = gone ? Verdict::kGone : Verdict::kNew};
  (gone ? finding.before : finding.now) = Median((gone ? pair.before : pair.now)->samples);
  finding.why = OtherThreads(pairs, name, gone);
  if (!finding.why.empty()) finding.verdict = Verdict::kNotComparable;
  return finding;
}

}  // namespace

std::optional<SpeedFinding> CompareSpeed(const StoredRecord* baseline,
                                         const StoredRecord* candidate, const SpeedLimits& limits) {
  const std::map<RateName, RatePair> pairs = MatchRates(baseline, candidate);
  if (pairs.empty()) return std::nullopt;
  const bool both = baseline != nullptr && candidate != nullptr;
  const std::string why = both ? WhyNotComparableSpeeds(*baseline, *candidate) : "";
  SpeedFinding speed{Verdict::kSame, {}};
  for (const auto& [name, pair] : pairs) {
    if (pair.before == nullptr || pair.now == nullptr) {
      speed.rates.push_back(OneSided(pairs, name, pair));
    } else if (!why.empty()) {
      speed.rates.push_back({.name = name,
                             .verdict = Verdict::kNotComparable,
                             .why = why,
                             .before = Median(pair.before->samples),
                             .now = Median(pair.now->samples)});
    } else {
      speed.rates.push_back(
          CompareRate(*baseline->speed, *candidate->speed, *pair.before, *pair.now, limits));
    }
    speed.verdict = std::min(speed.verdict, speed.rates.back().verdict);
  }
  return speed;
}

}  // namespace quantref
