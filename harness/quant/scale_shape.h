#pragma once

#include <algorithm>
#include <cstddef>

#include "harness/quant/scheme.h"

namespace quantref {

// Which weights of a (rows, cols) matrix share a scale: those of a block of rows_each outputs and
// cols_each inputs. Where groups do not divide the inputs, the last of a row has what is left, as
// in the GPTQ authors' code (IST-DASLab/gptq); a row shorter than a group is one group. Nothing
// else divides columns by groups.
struct ScaleShape {
  // Scales: (1, 1) for tensor, (rows, 1) for row, (1, cols) for column, (rows, cols / group,
  // rounded up) for group.
  size_t rows, cols;
  size_t rows_each, cols_each;  // weights of a block, of which the last of a row may have fewer
  size_t inputs;                // of the matrix

  size_t count() const { return rows * cols; }

  // The scale of a weight, by its row and its position in it.
  size_t RowOf(size_t row) const { return row / rows_each; }
  size_t ColOf(size_t position) const { return position / cols_each; }

  // The positions [Begin, End) that scales of this column hold for.
  size_t Begin(size_t scale_col) const { return scale_col * cols_each; }
  size_t End(size_t scale_col) const { return std::min(Begin(scale_col) + cols_each, inputs); }
  size_t Size(size_t scale_col) const { return End(scale_col) - Begin(scale_col); }
};

// rows, cols > 0; the scheme has a group > 0 where it has groups (CheckApplies).
ScaleShape ShapeOfScales(size_t rows, size_t cols, const WeightScheme& scheme);

}  // namespace quantref
