#pragma once

#include <cstddef>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/kernels/hadamard_kernels.h"
#include "harness/kernels/isa.h"

namespace quantref {

// An orthogonal matrix H / sqrt(order) that mixes channels: of every order * stride consecutive
// ones those that lie `stride` apart. So (n, 1) rotates n channels, (128, 1) each 128 of them, and
// (heads, head_dim) rotates across heads.
struct Rotation {
  size_t order = 0;  // of the Hadamard matrix (hadamard_matrix.h); 0: nothing is rotated
  size_t stride = 1;

  bool operator==(const Rotation&) const = default;
};

// Rotates each row of x (rows, channels) in place; order * stride divides the channels. By
// butterflies, and a dense product with the core where the order is no power of 2. The bits are
// those of every instruction set. The scratch is kept from call to call.
void ApplyRotation(const Rotation& rotation, MatrixView<float> x, std::vector<float>& scratch,
                   Isa isa = ActiveIsa());

// The same of the columns: each column of x (channels, cols) is rotated.
void RotateColumns(const Rotation& rotation, MatrixView<float> x, size_t threads);

// Additions of one row, and the multiplication of each number at the end.
double RotationFlops(const Rotation& rotation, size_t channels);

const HadamardKernels& HadamardKernelsFor(Isa isa);

}  // namespace quantref
