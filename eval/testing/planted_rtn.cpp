#include <vector>

#include "harness/quant/grid.h"
#include "quantizers/rtn.h"

// quantizers/rtn.cpp for a run_eval with a mistake in one method, as a regression would make it:
// "rtn" rounds down instead of to nearest.

namespace quantref {

Rounded Rtn::Round(const RoundInput& input) const {
  PackedMatrix packed = RoundToNearest(input.weights, input.scheme, input.limits);
  std::vector<uint8_t> codes(packed.cols());
  std::vector<float> values(packed.cols());
  for (size_t row = 0; row < packed.rows(); ++row) {
    packed.GetCodes(row, codes);
    packed.DecodeRow(row, values);
    for (size_t c = 0; c < codes.size(); ++c) {
      if (values[c] > input.weights(row, c) && codes[c] > 0) --codes[c];
    }
    packed.SetCodes(row, codes);
  }
  return {std::move(packed)};
}

}  // namespace quantref
