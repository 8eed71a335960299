#include "quantizers/rtn.h"

#include "harness/quant/grid.h"

namespace quantref {

Rounded Rtn::Round(const RoundInput& input) const {
  return {RoundToNearest(input.weights, input.scheme, input.limits)};
}

}  // namespace quantref
