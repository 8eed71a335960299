#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "eval/stats/stats.h"

namespace quantref {

// How often the 95 % interval of a part of a text's windows holds what the rest of them shows.
//
// The rest's mean is no truth: it has an error of its own. An interval of n positions whose promise
// is to hold the mean of the whole population in 95 % holds that of another m positions so often
// where it is widened about its mean by sqrt(1 + n / m), the error of a difference of two
// independent means over that of the one. Not widened it holds it less often.
struct Coverage {
  double windows = 0;      // share of draws of windows, widened intervals
  double not_widened = 0;  // of the same draws
  double tokens = 0;       // of the same draws, of intervals that take positions as independent
  // Of runs of windows that follow each other, one every eighth of their length; widened intervals.
  double neighbours = 0;
};

// blocks: every window of the text, in its order, not all of them alike. `windows`: of each part,
// kMinBlocks or more, at most half of all. token_error: the standard error of the mean over all
// positions if they were independent (IndependentStandardError); a part's is larger by the root of
// how many times more positions all are. `draws` parts are drawn, each without replacement. Same
// blocks, same seed, same shares.
Coverage HeldOutCoverage(std::span<const BlockSum> blocks, size_t windows, double token_error,
                         size_t draws, uint64_t seed = 0);

}  // namespace quantref
