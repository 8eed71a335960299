#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "eval/record/stamps.h"

namespace quantref {

// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0, end = 0;
};

// Whether the texts, valid UTF-8, differ in their white space at most.
bool SameButForSpace(std::string_view a, std::string_view b);

// What is read of a text, valid UTF-8; the ranges in the order of their beginnings.
struct ReadText {
  std::string_view text;
  std::span<const TextRange> ranges;
};

// How many runs (kOverlapRun) begin in a range of the test text, and how many of these begin in
// some range of the calibration text, too. Where a range ends the text goes on, so that no range is
// too short.
struct Overlap {
  size_t runs = 0, found = 0;
};

// Of each range of the test text.
std::vector<Overlap> MeasureOverlap(const ReadText& test, const ReadText& calibration);

}  // namespace quantref
