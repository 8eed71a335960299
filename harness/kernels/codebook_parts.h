#pragma once

#include "harness/kernels/codebook_kernels.h"
#include "harness/kernels/qgemm_rows.h"

// The parts of a row that codebook_kernels.h speaks of. Included by files compiled for other
// instruction sets; its functions are static, so that no other file can be given a copy of them.

namespace quantref {

struct Part {
  size_t group;
  size_t first, terms;  // its inputs, by position
  size_t begin;         // the first as it is stored, in the group
  size_t stored;        // inputs, filled up
};

// The group's part from the given stored input on; that after `part`. Behind the last: of the group
// weights.groups.
static inline Part PartFrom(const QgemmWeights& w, size_t group, size_t begin) {
  if (group == w.groups) return {group, w.cols, 0, 0, 0};
  const size_t stored = Smaller(kPartTerms, StepsOf(w, group) * w.step - begin);
  return {group, group * w.group + begin, Smaller(stored, TermsOf(w, group) - begin), begin,
          stored};
}
static inline Part NextPart(const QgemmWeights& w, const Part& part) {
  const size_t end = part.begin + part.stored;
  const bool in_group = end < StepsOf(w, part.group) * w.step;
  return in_group ? PartFrom(w, part.group, end) : PartFrom(w, part.group + 1, 0);
}

// Codes of eight inputs lie in a line; parts are stored as pairs of these.
static constexpr size_t kLineBytes = 64, kLineTerms = 8, kPairTerms = 16;
// Of what an input's products are looked up in: 32 bits for each level.
static constexpr size_t kTermBytes = 4 * kLevels, kLineTables = kLineTerms * kTermBytes;

// A part of a panel: where its codes lie, those to ask for meanwhile, its scales.
struct PanelPart {
  const uint8_t* codes;
  const uint8_t* ahead;
  const float* scales;
};

// Where the codes of a part lie in a panel.
static inline size_t CodesAt(const QgemmWeights& w, const Part& part) {
  return (part.group * w.steps * w.step + part.begin) * kPanelRows / 2;
}

// largest level / kMostProduct.
static inline float UnitFactor(const float* levels) {
  float largest = 0;
  for (size_t c = 0; c < kLevels; ++c) {
    const float magnitude = __builtin_fabsf(levels[c]);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest / kMostProduct;
}

// The unit of a part of a token's activations, and what they are multiplied by to become q; 0 where
// q is 0 for all.
struct PartUnit {
  float unit, inverse;
};
static inline PartUnit UnitOf(const float* x, size_t terms, float factor) {
  constexpr int32_t kInfinity = 0x7f800000;
  int32_t largest = 0;  // as integers, magnitudes are in order, with infinity and NaN on top
  for (size_t k = 0; k < terms; ++k) {
    int32_t bits;
    __builtin_memcpy(&bits, x + k, sizeof(bits));
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  if (largest >= kInfinity) return {__builtin_nanf(""), 0};
  float absmax;
  __builtin_memcpy(&absmax, &largest, sizeof(absmax));
  const float unit = absmax * factor;
  return unit < 0x1p-126f ? PartUnit{0, 0} : PartUnit{unit, 1 / unit};
}

}  // namespace quantref
