#pragma once

#include "harness/base/matrix.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {

// values = rows [first, first + values.rows()) of the matrix, equal bit for bit to
// PackedMatrix::DecodeRow.
void DecodeRows(const PackedMatrix& matrix, size_t first, MatrixView<float> values);

}  // namespace quantref
