#include "harness/kernels/probe_kernels.h"

// What plain C++ gives: the compiler is free to use the vectors that every x86-64 has.

namespace quantref {
namespace {

uint64_t ReadOp(const void* data, size_t bytes) {
  const auto* words = static_cast<const uint64_t*>(data);
  uint64_t sums[8] = {};
  for (size_t i = 0; i < bytes / sizeof(uint64_t); i += 8) {
    for (size_t s = 0; s < 8; ++s) sums[s] += words[i + s];
  }
  uint64_t sum = 0;
  for (const uint64_t part : sums) sum += part;
  return sum;
}

constexpr size_t kChains = 32;

// A multiplication and an addition: without FMA that is what a product costs.
double FmaOp(size_t rounds, float factor, float term) {
  float x[kChains] = {};
  asm volatile("" ::"r"(x) : "memory");  // else the chains were known to be equal, and made once
  for (size_t r = 0; r < rounds; ++r) {
    for (float& value : x) value = value * factor + term;
  }
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value);
  return sum;
}

constexpr size_t kBytes = 4096;

int64_t DotOp(size_t rounds, uint8_t a, int8_t b) {
  uint8_t left[kBytes];
  int8_t right[kBytes];
  for (size_t i = 0; i < kBytes; ++i) {
    left[i] = a;
    right[i] = b;
  }
  int64_t total = 0;
  for (size_t r = 0; r < rounds; ++r) {
    asm volatile("" ::"r"(left), "r"(right) : "memory");  // read anew
    int32_t sum = 0;
    for (size_t i = 0; i < kBytes; ++i) sum += left[i] * right[i];
    total += sum;
  }
  return total;
}

}  // namespace

const ProbeOps kScalarProbes = {"scalar", ReadOp, 2 * kChains, FmaOp, 2 * kBytes, DotOp};

}  // namespace quantref
