#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "harness/base/matrix.h"
#include "harness/model/weights.h"

namespace quantref {

// A low-rank term beside a matrix W (out, in): y = W x + scale B (A x) (Hu et al. 2022, eq. 3),
// with A (rank, in), `down`, and B (out, rank), `up`, in FP16. The numbers of B are relative to a
// power of two, which is part of the scale: FP16 holds small ones as well as large ones.
struct Adapter {
  Linear down, up;
  float scale = 1;

  size_t rank() const { return down.weight.rows(); }
  size_t StorageBits() const;  // of A, B and the scale
};

// a: (rank, in), b: (out, rank), rounded to FP16. Throws Error, naming the matrix, as
// Weight::RoundedToHalf.
std::shared_ptr<const Adapter> MakeAdapter(const std::string& name, MatrixView<const float> a,
                                           MatrixView<const float> b, float scale);

// values (rows of W from `first` on, in) += scale b a, on the calling thread; b: as many rows of
// B. How an adapter is merged, and what training computes with.
void AddLowRank(MatrixView<const float> b, MatrixView<const float> a, float scale,
                MatrixView<float> values);

}  // namespace quantref
