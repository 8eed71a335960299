#pragma once

#include <span>
#include <string>
#include <string_view>

namespace quantref {

inline constexpr size_t kOverlapWords = 13;  // as Brown et al. 2020 (GPT-3) count contamination

// The share of the test text's runs of 13 words (by white space) that some calibration text holds
// too: 0 where the test text has fewer words.
double OverlapShare(std::string_view test, std::span<const std::string> calibration);

}  // namespace quantref
