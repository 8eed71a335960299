#pragma once

#include <cstddef>
#include <string>

namespace quantref {

// How much text calibration samples are. 0: not known, as older records do not say it.
struct SampleCounts {
  size_t samples = 0, length = 0;
  size_t distinct = 0;     // tokens of the text that are in one or more of them
  size_t text_tokens = 0;  // that there were to draw from
  bool cut = false;        // less than the config asks for:
  size_t asked_samples = 0, asked_length = 0;
};

// "7 x 2048 tokens, 9,012 distinct of 15,049", and in brackets what was asked for where that could
// not be had.
std::string SamplesText(const SampleCounts& counts);

}  // namespace quantref
