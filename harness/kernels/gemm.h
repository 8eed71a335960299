#pragma once

#include <string>

#include "harness/base/matrix.h"

namespace quantref {

// FP32 matrix products on the calling thread alone: other threads would make results depend on
// their number. By our AMX kernel (gemm_amx.h) where AMX is active and the shape fills its tiles,
// else by OpenBLAS, whose kernels follow the active instruction set too (QUANTREF_FORCE_ISA;
// OPENBLAS_CORETYPE is overridden). The bits of a result depend on the shape and that set.

// c = a b^T, or c += a b^T. a: (m, k), b: (n, k), c: (m, n).
void MultiplyTransposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                        bool accumulate = false);

// c = a b^T by OpenBLAS on every instruction set, to compare with; of one row by its matrix-vector
// product, because sgemm would copy b for it.
void BlasMultiplyTransposed(MatrixView<const float> a, MatrixView<const float> b,
                            MatrixView<float> c);

// c = a b, or c += a b. a: (m, k), b: (k, n), c: (m, n).
void Multiply(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
              bool accumulate = false);

// c = c - a b. a: (m, k), b: (k, n), c: (m, n).
void SubtractProduct(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c);

// c = a^T b, or c += a^T b. a: (k, m), b: (k, n), c: (m, n).
void MultiplyFirstTransposed(MatrixView<const float> a, MatrixView<const float> b,
                             MatrixView<float> c, bool accumulate = false);

// c = a b in double by OpenBLAS, for what factorizations are used for; the bits depend as theirs
// do.
void MultiplyDouble(MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c);

// Factorizations of the LAPACK that comes with OpenBLAS, in double, in place, one thread. The bits
// depend on stride and alignment too: give them a Matrix of its own.

// The lower triangle of the symmetric matrix a becomes L, a = L L^T; what is above the diagonal is
// left as it was and is not read. False where a is not positive definite (a is then spoilt).
bool CholeskyLower(MatrixView<double> a);

// The lower triangle becomes its inverse. Every element of the diagonal must differ from 0.
void InvertLower(MatrixView<double> a);

std::string BlasVersion();   // e.g. "OpenBLAS 0.3.21"
std::string BlasCoreType();  // e.g. "SkylakeX"

}  // namespace quantref
