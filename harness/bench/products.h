#pragma once

#include <memory>
#include <string>
#include <vector>

#include "harness/base/rng.h"
#include "harness/base/team.h"
#include "harness/kernels/isa.h"

namespace quantref::bench {

// The products y (tokens, rows) = x W^T that kernel_bench compares, with random numbers. Weights
// and inputs are kept for the life of the program, shared by all products that can.

enum class Library { kOurs, kOpenBlas, kEigen, kOneDnn };

struct ProductSpec {
  Library library = Library::kOurs;
  // Of ours: "fp16" or one of QuantizedFormats(). The others: FP32, oneDNN signed bytes with one
  // scale a row.
  std::string format;
  Isa isa = Isa::kScalar;  // Eigen: kAvx2 or kAvx512; OpenBLAS and oneDNN choose themselves
  size_t rows = 0, cols = 0, tokens = 0;
  bool streamed = false;  // ours: copies of the weights beyond the largest cache take turns
  bool packed = false;    // ours: without the rounding of activations, as oneDNN's
  size_t threads = 1;     // ours
};

const std::vector<std::string>& QuantizedFormats();
bool HasLibrary(Library library);               // whether it was there when this was built
std::string SpecName(const ProductSpec& spec);  // "w4a8_g128:amx/4096x4096/M:8/streamed"

class Product {
 public:
  virtual ~Product() = default;
  virtual void Run() = 0;
  // What the last Run made, on a sample of outputs: integer kernels by the bits of the scalar
  // reference, the others within a bound of sums in double.
  virtual bool IsRight(Rng& rng) const = 0;
  virtual size_t weight_bytes() const = 0;  // that one Run reads
};

// fp16 beyond ThinTokens has one kernel, that of ActiveIsa(). team: of spec.threads, null
// for one.
std::unique_ptr<Product> MakeProduct(const ProductSpec& spec, Team* team);

}  // namespace quantref::bench
