#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "harness/model/weights.h"
#include "harness/quant/stored_codes.h"

namespace quantref {

// Sums over weights of a matrix, and of what they are compared with.
struct SquaresOf {
  double differences = 0, own = 0, reference = 0;
  double zeroed = 0;  // of the reference, where the matrix has zeros: pruned, or rounded to 0

  double Relative() const { return differences / reference; }
  double Correlation() const;  // 0 where either is all zeros
  // Of the line through 0 that fits the weights best, by what they are compared with; and of the
  // other line, which is the factor that would bring the weights nearest. What is pruned leaves the
  // factor as it is, and what is rounded badly has a smaller one.
  double Slope() const { return Products() / reference; }
  double BestFactor() const { return Products() / own; }
  void operator+=(const SquaresOf& more);

 private:
  double Products() const { return (own + reference - differences) / 2; }
};

// Of so many rows, the first ones, of two matrices of one shape.
SquaresOf SquaresBetween(const Weight& own, const Weight& reference, size_t rows);

// The same with the reference's weights times a factor for each input, or for each output, the one
// that brings them nearest: methods that fold scales into the norm before a matrix multiply its
// inputs by them, those that fold them between two matrices one's outputs and the other's inputs.
enum class Channels { kInputs, kOutputs };
SquaresOf SquaresUpTo(Channels channels, const Weight& own, const Weight& reference, size_t rows);

// What is known of the codes that a matrix is rounded to.
struct Rounding {
  int bits = 0;  // of a code; 0: plain numbers, rounded to anything
  // Of all weights, the squares of the steps between codes; infinite where these are not known.
  double squares_of_steps = HUGE_VAL;
  bool of_scales = false;  // these are its scales; or what they would be if codes spread evenly
};
Rounding RoundingOf(const Weight& weight, const StoredCodes& codes);

// How a matrix stands to the one that it was made of, or was not.
enum class Nearness {
  kRounded,
  kCoarse,     // further away than a matrix of zeros
  kTuned,      // further than rounding leaves it, by little
  kFolded,     // likewise, but for factors that another matrix undoes
  kScaled,     // longer or shorter along it than rounding makes it
  kFar,        // further than rounding leaves it, by much
  kUnrelated,  // at least as far as zeros, in another direction
};
Nearness JudgeNearness(const SquaresOf& sums, const Rounding& rounding);

// A matrix, what it is compared with, and what is known of its codes.
struct ComparedMatrix {
  const Weight* own;
  const Weight* reference;
  Rounding rounding;
};

// Whether the two are roundings of what a method folds: `from`'s outputs times factors, and `to`'s
// inputs divided by them. Input c of `to` is output outputs[c] of `from`.
bool FoldsBetween(const ComparedMatrix& from, const ComparedMatrix& to,
                  const std::vector<size_t>& outputs);

// Whether the rows are the reference's in another basis: other numbers, but as long and in the same
// angles to each other. Of the first rows.
bool IsTurned(const Weight& own, const Weight& reference);

// Whether matrices whose inputs may have been scaled have little to do with each other.
bool UnrelatedUpToInputs(const Weight& own, const Weight& reference);

// Groups of inputs that share a scale (of GGUF's blocks: the block's) and that are all 0, where the
// reference's are not next to it.
size_t CountLostGroups(const Weight& own, const Weight& reference, const StoredCodes& codes);

}  // namespace quantref
