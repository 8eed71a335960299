#pragma once

#include <span>

#include "harness/base/matrix.h"
#include "harness/quant/grid.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {

// Grids narrower than the weights that they are for. Beside the grid that spans `range`, those that
// span range * (1 - i / 100), i = 1..79, are tried; the one with the least sum over the weights of
// |w - Q(w)|^2.4 is taken, the widest of equals. The numbers are those of the paper's code
// (IST-DASLab/gptq, quant.py, Quantizer with mse=True); the paper itself has min-max grids only.
// unit: as ChooseGrid's.
Grid SearchGrid(std::span<const float> weights, const ValueRange& range, const WeightScheme& scheme,
                const ScaleUnit& unit = {});

// ChooseGrids (harness/quant/grid.h) with SearchGrid for every scale: the widest range that is
// tried is cut at the limits, the weights that the sum runs over are not.
void SearchGrids(MatrixView<const float> weights, MatrixView<const float> limits, size_t threads,
                 PackedMatrix& packed);

}  // namespace quantref
