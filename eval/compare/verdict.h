#pragma once

#include "eval/record/change.h"

namespace quantref {

// What a comparison says of a cell, and what it says it with.

// Most alarming first: the order of every output.
enum class Verdict { kWorse, kNotComparable, kGone, kCannotTell, kNew, kBetter, kSame };
inline constexpr Verdict kVerdicts[] = {
    Verdict::kWorse, Verdict::kNotComparable, Verdict::kGone, Verdict::kCannotTell,
    Verdict::kNew,   Verdict::kBetter,        Verdict::kSame};
const char* VerdictName(Verdict verdict);  // "cannot tell"

}  // namespace quantref
