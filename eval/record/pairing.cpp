#include "eval/record/pairing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/record/schema.h"

namespace quantref {
namespace {

// The first window that the one list has other than the other. Same length.
template <typename T>
std::optional<size_t> FirstDifference(const std::vector<T>& a, const std::vector<T>& b) {
  const auto at = std::mismatch(a.begin(), a.end(), b.begin()).first;
  if (at == a.end()) return std::nullopt;
  return static_cast<size_t>(at - a.begin());
}

std::optional<Interval> Difference(std::span<const double> a, std::span<const double> b,
                                   std::span<const double> scored) {
  return MeanInterval(DifferenceBlocks(a, b, scored));
}

}  // namespace

std::optional<Change> OtherWindows(const StoredRecord& a, const StoredRecord& b) {
  if (a.window_nll.size() != b.window_nll.size()) {
    return Change{"protocol.windows", std::to_string(a.window_nll.size()),
                  std::to_string(b.window_nll.size())};
  }
  if (const auto w = FirstDifference(a.window_index, b.window_index)) {
    return Change{fmt::format("protocol.window_index[{}]", *w), std::to_string(a.window_index[*w]),
                  std::to_string(b.window_index[*w])};
  }
  if (const auto w = FirstDifference(a.window_scored, b.window_scored)) {
    return Change{fmt::format("protocol.window_scored[{}]", *w),
                  fmt::format("{}", a.window_scored[*w]), fmt::format("{}", b.window_scored[*w])};
  }
  return std::nullopt;
}

bool MadElsewhere(const StoredRecord& a, const StoredRecord& b) {
  return std::ranges::any_of(
      FieldsWith(Role::kRounding | Role::kMachine),
      [&](const RecordField* field) { return a.Fact(field->path) != b.Fact(field->path); });
}

std::optional<ReferenceChange> OtherReference(const StoredRecord& a, const StoredRecord& b) {
  if (a.reference_window_nll == b.reference_window_nll) return std::nullopt;
  const bool elsewhere = MadElsewhere(a, b);
  for (size_t w = 0; w < a.window_nll.size(); ++w) {
    const double before = a.reference_window_nll[w] / a.window_scored[w];
    const double now = b.reference_window_nll[w] / b.window_scored[w];
    if (elsewhere ? std::abs(now - before) <= kRoundingNll : now == before) continue;
    return ReferenceChange{a.window_index[w], before, now, elsewhere};
  }
  return std::nullopt;
}

bool IsRounding(const Interval& nats) {
  return nats.low >= -kRoundingNll && nats.high <= kRoundingNll;
}

bool HoldsNoDifference(const Interval& nats) { return nats.Contains(0) || IsRounding(nats); }

bool MayBeEqual(std::span<const double> a, std::span<const double> b,
                std::span<const double> scored) {
  if (std::ranges::equal(a, b)) return true;
  const std::optional<Interval> interval = Difference(a, b, scored);
  return !interval || interval->Contains(0);
}

bool AreTied(const StoredRecord& a, const StoredRecord& b) {
  if (OtherWindows(a, b)) return false;
  if (a.window_nll == b.window_nll) return true;
  const std::optional<Interval> interval = Difference(a.window_nll, b.window_nll, a.window_scored);
  return !interval || HoldsNoDifference(*interval);
}

}  // namespace quantref
