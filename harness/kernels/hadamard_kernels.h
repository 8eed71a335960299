#pragma once

#include <cstddef>

// Included by files compiled for other instruction sets: plain types and declarations only, as
// vector_ops.h explains.

namespace quantref {

// The two steps of a product with a Hadamard matrix, one table an instruction set. Sums and
// differences in a fixed order, so that all tables give the same bits.
struct HadamardKernels {
  const char* name;

  // x, as `count` pieces of (size, stride) rows, size a power of 2: each piece becomes H x with
  // Sylvester's H of that size, by butterflies.
  void (*butterflies)(float* x, size_t count, size_t size, size_t stride);

  // y (order, width) = factor * core (order, order) x (order, width), the core's entries being 1
  // and -1; each sum in the order of x's rows. order is a multiple of 4; y may not overlap x.
  void (*mix)(const float* core, size_t order, const float* x, size_t width, float factor,
              float* y);
};

extern const HadamardKernels kScalarHadamard;
extern const HadamardKernels kAvx2Hadamard;
extern const HadamardKernels kAvx512Hadamard;

}  // namespace quantref
