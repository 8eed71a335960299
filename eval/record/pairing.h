#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "eval/record/change.h"
#include "eval/record/reader.h"
#include "eval/stats/stats.h"

namespace quantref {

// Whether the windows of two records can be paired, and whether what they show is a difference: the
// one rule of comparisons and of tables.

// What another ISA, BLAS or compiler may add to the mean NLL of a window: 30 times what the
// project's own ISAs differ by, and what the reference may differ by from its goldens.
inline constexpr double kRoundingNll = 1e-5;  // nats

// Why the windows are not the same; nothing where they are.
std::optional<Change> OtherWindows(const StoredRecord& a, const StoredRecord& b);

// Another compiler, ISA, BLAS, CPU or system: FP32 results may differ by their rounding.
bool MadElsewhere(const StoredRecord& a, const StoredRecord& b);

// The first window in which the references of two records of the same windows give other NLLs. The
// same program on the same machine gives the same bits; elsewhere kRoundingNll is forgiven.
struct ReferenceChange {
  size_t window;       // its place in the text
  double before, now;  // nats a token
  bool elsewhere;
};
std::optional<ReferenceChange> OtherReference(const StoredRecord& a, const StoredRecord& b);

// Whether an interval of a difference of mean NLLs is all within kRoundingNll.
bool IsRounding(const Interval& nats);

// Whether it holds no difference: none at all, or none beyond rounding.
bool HoldsNoDifference(const Interval& nats);

// Whether the means of two lists of windows' sums over the same scored positions may be equal: by
// the 95 % interval of their paired difference, nothing of which is known of too few windows.
bool MayBeEqual(std::span<const double> a, std::span<const double> b,
                std::span<const double> scored);

// Whether two records may have equal mean NLLs, of the same windows and but for rounding.
bool AreTied(const StoredRecord& a, const StoredRecord& b);

}  // namespace quantref
