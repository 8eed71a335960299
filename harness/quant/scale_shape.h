#pragma once

#include <cstddef>

#include "harness/quant/scheme.h"

namespace quantref {

// How many scales a (rows, cols) matrix has: (1, 1) for tensor, (rows, 1) for row, (1, cols) for
// column, (rows, cols / group) for group, where the group divides the columns.
struct ScaleShape {
  size_t rows, cols;
};
ScaleShape ShapeOfScales(size_t rows, size_t cols, const WeightScheme& scheme);

}  // namespace quantref
