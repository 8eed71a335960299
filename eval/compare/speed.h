#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/compare/verdict.h"
#include "eval/record/reader.h"
#include "eval/stats/rank_sum.h"

namespace quantref {

// Whether a cell became slower, and which kernel did.

struct SpeedLimits {
  // Share by which two runs of the same program may differ: what a machine's clock drifts by.
  double tolerance = 0.1;
  // Share by which what the machine itself gave (roofline) may differ, for speeds to mean anything.
  double machine = 0.1;
};

// The product whose time moved most in the direction of a rate.
struct KernelChange {
  KernelName name;
  double ratio;  // time of the candidate over that of the baseline
};

// Of one prefill or decode.
struct RateFinding {
  RateName name;
  Verdict verdict = Verdict::kSame;
  std::string why{};                      // it cannot be compared, or nothing can be told
  std::optional<double> before{}, now{};  // medians, tokens a second
  std::optional<RatioOfSamples> ratio{};  // candidate over baseline: below 1 is slower
  size_t kernels = 0;                     // products of its kind that both records timed
  std::optional<KernelChange> kernel{};   // of them, beyond the tolerance: what is to blame
};

struct SpeedFinding {
  Verdict verdict;                 // the most alarming of the rates
  std::vector<RateFinding> rates;  // by name; not empty
};

// Of two records of the same cell, or of one where the other is nullptr. Nothing where neither
// timed whole models.
//
//   worse, better    the whole 95 % interval of the ratio is beyond 1 -+ tolerance
//   same             all of it is within
//   not comparable   another CPU, ISA, compiler, BLAS, number of parameters or threads
//   cannot tell      anything else; a busy machine, or one that gave something else
std::optional<SpeedFinding> CompareSpeed(const StoredRecord* baseline,
                                         const StoredRecord* candidate, const SpeedLimits& limits);

}  // namespace quantref
