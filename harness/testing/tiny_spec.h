#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness/quant/plan.h"

namespace quantref::testing {

// A spec that applies to every linear of the tiny model.
inline QuantizeSpec Spec(std::vector<std::string> keep = {"embed_tokens", "lm_head"}) {
  QuantizeSpec spec;
  spec.weights.group = 16;
  spec.keep = std::move(keep);
  return spec;
}

inline SchemeOverride WithBits(const std::string& match, int bits) {
  SchemeOverride entry;
  entry.match = match;
  entry.bits = bits;
  return entry;
}

inline SchemeOverride Kept(const std::string& match) {
  SchemeOverride entry;
  entry.match = match;
  entry.keep = true;
  return entry;
}

}  // namespace quantref::testing
