#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/method/sample_share.h"
#include "harness/model/block.h"

namespace quantref {

// Which of a tap's products x x^T are summed. kBlocks: squares of kGramBlock columns on the
// diagonal.
enum class GramPart { kNone, kBlocks, kAll };
inline constexpr size_t kGramBlock = 256;

// Products of some columns of a tap's Gram matrix: from row 0 to the diagonal, or on it alone; or
// of its products with the reference's inputs, all rows.
struct GramStripe {
  size_t tap, col;
  bool above, cross = false;
};

// Of these taps, of which `grams` and `crosses` are asked for, by Tap. The long ones of a tap
// first, so that threads end together.
std::vector<GramStripe> GramStripesOf(const BlockLayout& layout, std::span<const Tap> taps,
                                      const std::array<GramPart, kTaps>& grams,
                                      const std::array<bool, kTaps>& crosses);

// sums += x^T x in this stripe, sample after sample; the products of a sample in FP32, their sum in
// double. The block on the diagonal is a product of its own, so that it has the same bits whether
// what is above it is asked for or not.
void AddStripe(std::span<const Matrix<float>> samples, const GramStripe& stripe,
               Matrix<double>& sums);

// sums += (r - x)^T x in this stripe, likewise; `differences`: r - x, sample by sample.
void AddCrossStripe(std::span<const Matrix<float>> samples,
                    std::span<const Matrix<float>> differences, const GramStripe& stripe,
                    Matrix<double>& sums);

// Where they are in the matrix that they are added to.
SumPiece PieceOf(const GramStripe& stripe, Matrix<double>& sums);

}  // namespace quantref
