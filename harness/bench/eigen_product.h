#pragma once

#include <cstddef>

// Included by files compiled for other instruction sets: plain types and declarations only.

namespace quantref::bench {

// y (m, n) = x (m, k) w (n, k)^T by Eigen on the calling thread, compiled for one instruction set.
void EigenProductAvx2(const float* x, const float* w, float* y, size_t m, size_t n, size_t k);
void EigenProductAvx512(const float* x, const float* w, float* y, size_t m, size_t n, size_t k);

}  // namespace quantref::bench
