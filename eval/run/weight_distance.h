#pragma once

#include <cmath>
#include <cstddef>

#include "harness/model/weights.h"

namespace quantref {

// Sums over weights of a matrix, and of what they are compared with. Slope: of the line through 0
// that fits the weights best, by what they are compared with.
struct SquaresOf {
  double differences = 0, own = 0, reference = 0;

  double Relative() const { return differences / reference; }
  double Correlation() const {
    return (own + reference - differences) / (2 * std::sqrt(own * reference));
  }
  double Slope() const { return (own + reference - differences) / (2 * reference); }
  void operator+=(const SquaresOf& more) {
    differences += more.differences;
    own += more.own;
    reference += more.reference;
  }
};

// Of so many rows, the first ones, of two matrices of one shape.
SquaresOf SquaresBetween(const Weight& own, const Weight& reference, size_t rows);

// The same with the reference's weights times a factor for each input, the one that brings them
// nearest: methods that fold scales into the norm before a matrix multiply its inputs by them.
SquaresOf SquaresUpToInputs(const Weight& own, const Weight& reference, size_t rows);

// Of all weights, the squares of the steps between their codes; infinite where these are not even.
double SquaresOfSteps(const Weight& weight);

// How a matrix stands to the one that it was made of, or was not.
enum class Nearness {
  kRounded,
  kCoarse,     // further away than a matrix of zeros
  kScaled,     // likewise, and longer along it
  kFar,        // than a step of its scales is
  kUnrelated,  // further than zeros, in another direction
};
Nearness JudgeNearness(const SquaresOf& sums, double squares_of_steps);

}  // namespace quantref
