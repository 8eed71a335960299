#pragma once

#include <cstddef>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/model/config.h"

namespace quantref {

// Rotary embeddings: by which angle each position turns each pair of a head's channels.

// Radians a position, for each of the RotaryDim() / 2 pairs, in a sequence of `length` tokens. The
// length matters to `dynamic` and `longrope` scaling alone: whether it is beyond the original
// context.
std::vector<double> RopeFrequencies(const ModelConfig& config, size_t length);

// Sequences of up to this many tokens have their angles in common: `longest`, or less where the
// frequencies of longer ones depend on their length.
size_t CommonRopeLength(const ModelConfig& config, size_t longest);

// Cosines and sines of the angles at the positions from `first` up to a sequence's end,
// (length - first, RotaryDim() / 2) each, times the attention factor; and those of the blocks with
// local_rope_theta, if there are any.
struct RopeTable {
  RopeTable(const ModelConfig& config, size_t length, size_t first = 0);

  size_t length() const { return first + cosines.rows(); }

  size_t first;
  Matrix<float> cosines, sines, local_cosines, local_sines;
};

// The tables of all sequences of a model: one is kept for those that have their angles in common, a
// longer one gets its own each time.
class RopeTables {
 public:
  RopeTables(const ModelConfig& config, size_t longest)
      : common_(config, CommonRopeLength(config, longest)) {}

  // body(table) with one that has the positions [first, length) of a sequence of that length.
  // config: as it was.
  template <typename F>
  void With(const ModelConfig& config, size_t length, size_t first, const F& body) const {
    if (length <= common_.length()) {
      body(common_);
    } else {
      body(RopeTable(config, length, first));
    }
  }

 private:
  RopeTable common_;
};

}  // namespace quantref
