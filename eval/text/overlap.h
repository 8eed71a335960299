#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace quantref {

// Runs of so many characters, white space left out: about 13 words of English, the run by which
// Brown et al. 2020 (GPT-3) count contamination, and it needs no spaces between words. The
// validation and test splits of WikiText-2 have one of a million in common.
inline constexpr size_t kOverlapRun = 50;

// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0, end = 0;
};

// What is read of a text, valid UTF-8; the ranges in the order of their beginnings.
struct ReadText {
  std::string_view text;
  std::span<const TextRange> ranges;
};

// How many runs begin in a range of the test text, and how many of these begin in some range of the
// calibration text, too. Where a range ends the text goes on, so that no range is too short.
struct Overlap {
  size_t runs = 0, found = 0;
};

// Of each range of the test text.
std::vector<Overlap> MeasureOverlap(const ReadText& test, const ReadText& calibration);

}  // namespace quantref
