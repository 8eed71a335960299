#pragma once

#include "harness/kernels/qgemm_kernels.h"

// How codes and scales are stored, where groups end and rows of activations lie. Included by files
// compiled for other instruction sets; its functions are static, so that no other file can be given
// a copy of them.

namespace quantref {

static inline size_t Smaller(size_t a, size_t b) { return a < b ? a : b; }

// How codes are stored and what they stand for: as a template's argument the bits of kPlain, or
// this of kLooked.
inline constexpr int kLookedCodes = -4;
static constexpr int BitsOf(int codes) { return codes == kLookedCodes ? 4 : codes; }

static inline size_t ScaleBytes(const QgemmWeights& w) {
  return w.wide_scales ? sizeof(float) : sizeof(uint16_t);
}

// Inputs of a group, and its steps. Only the last group is shorter than others, so all of them
// begin where steps * step inputs each put them.
static inline size_t TermsOf(const QgemmWeights& w, size_t group) {
  return Smaller(w.group, w.cols - group * w.group);
}
static inline size_t StepsOf(const QgemmWeights& w, size_t group) {
  return group + 1 < w.groups ? w.steps : w.last_steps;
}

// Inputs of the groups [first, end) as they are stored, filled up; and of a row.
static inline size_t StoredTerms(const QgemmWeights& w, size_t first, size_t end) {
  return ((end - first - 1) * w.steps + StepsOf(w, end - 1)) * w.step;
}
static inline size_t RowTerms(const QgemmWeights& w) { return StoredTerms(w, 0, w.groups); }

// Where the code of an output of a panel and an input lies in the 64 bytes of four inputs: lanes of
// sixteen bytes for each, outputs 0 to 7 in the even ones.
static inline size_t CodebookByte(size_t output, size_t input) {
  return input % kDotTerms * kPanelRows + 2 * (output % 8) + output / 8;
}

// Rows of a block of activations: 16, or with three digits the 15 of five tokens.
static inline size_t BlockRows(size_t digits) { return 16 / digits * digits; }

// Where a block's rows begin, and how many they are.
struct RowBlock {
  size_t first, height;
};
static inline RowBlock BlockOf(const QgemmInputs& inputs, size_t row) {
  const size_t most = BlockRows(inputs.digits), first = row / most * most;
  return {first, Smaller(most, inputs.tokens * inputs.digits - first)};
}

}  // namespace quantref
