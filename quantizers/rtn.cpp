#include "quantizers/rtn.h"

#include "harness/quant/affine.h"

namespace quantref {

PackedMatrix Rtn::Round(const RoundInput& input) const {
  return RoundToNearest(input.weights, input.scheme);
}

}  // namespace quantref
