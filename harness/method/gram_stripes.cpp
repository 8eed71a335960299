#include "harness/method/gram_stripes.h"

#include <algorithm>

#include "harness/kernels/gemm.h"

namespace quantref {
namespace {

size_t WidthOf(const GramStripe& stripe, const Matrix<double>& sums) {
  return std::min(kGramBlock, sums.cols() - stripe.col);
}

// sums += rows^T x, at (row, col), `product` being scratch of that shape.
void AddProduct(MatrixView<const float> rows, MatrixView<const float> x, size_t row, size_t col,
                MatrixView<float> product, Matrix<double>& sums) {
  MultiplyFirstTransposed(rows, x, product);
  for (size_t i = 0; i < product.rows(); ++i) {
    for (size_t j = 0; j < product.cols(); ++j)
      sums(row + i, col + j) += static_cast<double>(product(i, j));
  }
}

}  // namespace

std::vector<GramStripe> GramStripesOf(const BlockLayout& layout, std::span<const Tap> taps,
                                      const std::array<GramPart, kTaps>& grams,
                                      const std::array<bool, kTaps>& crosses) {
  std::vector<GramStripe> stripes;
  for (const Tap tap : taps) {
    const size_t at = static_cast<size_t>(tap);
    const GramPart part = grams[at];
    const size_t count = (layout.Channels(tap) + kGramBlock - 1) / kGramBlock;
    for (size_t i = count; crosses[at] && i-- > 0;)
      stripes.push_back({at, i * kGramBlock, true, true});
    for (size_t i = count; part != GramPart::kNone && i-- > 0;)
      stripes.push_back({at, i * kGramBlock, part == GramPart::kAll});
  }
  return stripes;
}

void AddStripe(std::span<const Matrix<float>> samples, const GramStripe& stripe,
               Matrix<double>& sums) {
  const size_t col = stripe.col, width = WidthOf(stripe, sums);
  Matrix<float> above(stripe.above ? col : 0, width), block(width, width);
  for (const Matrix<float>& x : samples) {
    const MatrixView<const float> own = x.view().Cols(col, width);
    if (above.rows() > 0) AddProduct(x.view().Cols(0, col), own, 0, col, above.view(), sums);
    AddProduct(own, own, col, col, block.view(), sums);
  }
}

void AddCrossStripe(std::span<const Matrix<float>> samples,
                    std::span<const Matrix<float>> differences, const GramStripe& stripe,
                    Matrix<double>& sums) {
  const size_t width = WidthOf(stripe, sums);
  Matrix<float> product(sums.rows(), width);
  for (size_t i = 0; i < samples.size(); ++i) {
    AddProduct(differences[i].view(), samples[i].view().Cols(stripe.col, width), 0, stripe.col,
               product.view(), sums);
  }
}

SumPiece PieceOf(const GramStripe& stripe, Matrix<double>& sums) {
  const size_t width = WidthOf(stripe, sums);
  const size_t begin = stripe.above ? 0 : stripe.col;
  const size_t end = stripe.cross ? sums.rows() : stripe.col + width;
  SumPiece piece;
  for (size_t row = begin; row < end; ++row)
    piece.push_back(BytesIn(sums.row(row) + stripe.col, width));
  return piece;
}

}  // namespace quantref
