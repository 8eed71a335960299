#pragma once

#include <string_view>

#include "harness/base/matrix.h"
#include "harness/quant/packed_matrix.h"
#include "harness/quant/scheme.h"

namespace quantref {

// What a rounder is given for one linear. A struct, so that a method that needs more (calibration
// statistics, a seed) does not change those that do not.
struct RoundInput {
  std::string_view name;            // "layers.3.mlp.down_proj"
  MatrixView<const float> weights;  // (out, in), finite
  WeightScheme scheme;              // applies to the shape (CheckApplies has passed)
};

// The plugin interface: a rounder turns the weights of one linear into codes on the scheme's grid.
// The format (what a code means, how it is packed) is not its business: see harness/quant/affine.h.
// Stateless and shared between threads; the same input must give the same bits. How to add one:
// quantizers/README.md.
class Rounder {
 public:
  virtual ~Rounder() = default;

  virtual std::string_view name() const = 0;     // as configs name it
  virtual std::string_view summary() const = 0;  // one line with the paper, for --list

  // Throws Error for weights that it cannot round; the caller adds the linear's name.
  virtual PackedMatrix Round(const RoundInput& input) const = 0;
};

}  // namespace quantref
