#include "quantizers/gptq_solver.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "harness/quant/grid.h"
#include "quantizers/gptq_solver_grid.h"

namespace quantref {
namespace {

constexpr double kFirstRaise = 0.01, kMostDamp = 1000;
constexpr size_t kTileRows = 256, kAbreast = 8;

// The diagonal of H before damping.
std::vector<double> Diagonal(MatrixView<const double> gram, std::vector<uint32_t>& dead) {
  std::vector<double> diagonal(gram.rows());
  for (size_t j = 0; j < gram.rows(); ++j) {
    diagonal[j] = gram(j, j);
    if (!std::isfinite(diagonal[j])) {
      throw Error(fmt::format("the inputs' second moment of channel {} is {}", j, diagonal[j]),
                  "calibration");
    }
    if (diagonal[j] != 0) continue;
    diagonal[j] = 1;
    dead.push_back(static_cast<uint32_t>(j));
  }
  return diagonal;
}

// The last column comes first in J H J, where J reverses the order.
size_t Reversed(const std::vector<uint32_t>& order, size_t i) {
  return order[order.size() - 1 - i];
}

// J H J, H damped: the lower triangle.
void FillReversed(MatrixView<const double> gram, const std::vector<double>& diagonal,
                  const std::vector<uint32_t>& order, double added, MatrixView<double> reversed) {
  for (size_t i = 0; i < order.size(); ++i) {
    const double* row = gram.row(Reversed(order, i));
    for (size_t j = 0; j < i; ++j) reversed(i, j) = row[Reversed(order, j)];
    reversed(i, i) = diagonal[Reversed(order, i)] + added;
  }
}

// P of the factor's order, where `inverse` is J U J, lower: U_jk = inverse(n - 1 - j, n - 1 - k).
Matrix<float> Carried(const GptqAsymmetry& asymmetry, const GptqFactor& factor,
                      const Matrix<double>& inverse) {
  const size_t n = inverse.rows();
  Matrix<double> upper(n, n), cross(n, n), product(n, n);
  const auto u = [&](size_t j, size_t k) { return k < j ? 0 : inverse(n - 1 - j, n - 1 - k); };
  std::vector<double> alive(n, 1.0);
  for (const uint32_t dead : factor.dead) alive[dead] = 0;
  for (size_t j = 0; j < n; ++j) {
    for (size_t k = 0; k < n; ++k) {
      const size_t column = factor.order[k];
      cross(j, k) = asymmetry.alpha * alive[column] * asymmetry.cross(factor.order[j], column);
      upper(j, k) = u(k, j);  // U^T as yet
    }
  }
  MultiplyDouble(cross.view(), upper.view(), product.view());
  for (size_t j = 0; j < n; ++j) {
    std::fill_n(product.row(j), j + 1, 0.0);
    for (size_t k = 0; k < n; ++k) upper(j, k) = u(j, k);
  }
  MultiplyDouble(product.view(), upper.view(), cross.view());
  Matrix<float> carried(n, n);
  for (size_t j = 0; j < n; ++j) {
    for (size_t k = 0; k < n; ++k) carried(j, k) = k <= j ? 0 : static_cast<float>(cross(j, k));
  }
  return carried;
}

// One tile of rows after another, every worker with its own.
class TileSolver {
 public:
  TileSolver(MatrixView<const float> weights, MatrixView<const float> limits,
             const GptqFactor& factor, const GptqOptions& options, PackedMatrix& packed)
      : weights_(weights),
        limits_(limits),
        factor_(factor),
        options_(options),
        packed_(packed),
        scheme_(packed.scheme()),
        shape_(packed.scales()),
        block_(FittingBlock()),
        tile_(std::min(kTileRows, weights.rows()), weights.cols()),
        errors_(tile_.rows(), std::min(block_, weights.cols())),
        carried_(factor.carried.rows() > 0 ? errors_.rows() : 0, errors_.cols()),
        codes_(tile_.rows(), weights.cols()),
        grids_(tile_.rows() * shape_.cols) {
    for (size_t p = 0; p < weights.cols(); ++p) {
      place_.push_back(options.regroup ? static_cast<uint32_t>(p) : factor.order[p]);
    }
  }

  // Rows [first, first + count) of the weights.
  void Solve(size_t first, size_t count);

 private:
  size_t FittingBlock() const;
  void Load(size_t first, size_t count);
  void RoundBlock(size_t first_row, size_t r, size_t end_row, size_t from, size_t end);
  void RoundWeight(size_t r, size_t from, size_t p, size_t end);
  Grid GroupGrid(size_t row, const float* weights, size_t s) const;
  void Store(size_t first, size_t count);
  Grid* RowGrids(size_t r) { return &grids_[r * shape_.cols]; }

  const MatrixView<const float> weights_, limits_;
  const GptqFactor& factor_;
  const GptqOptions& options_;
  PackedMatrix& packed_;
  const WeightScheme scheme_;
  const ScaleShape shape_;
  const size_t block_;
  const VectorOps& ops_ = Ops();
  std::vector<uint32_t> place_;  // by position in processing order: that in the packed row
  Matrix<float> tile_;           // (rows, cols) by position: the weights as updated
  Matrix<float> errors_;         // (rows, block): w - q of the current block
  Matrix<float> carried_;        // (rows, block): -w of it, where something is carried
  Matrix<uint8_t> codes_;        // (rows, cols) by place
  std::vector<Grid> grids_;      // (rows, scale_cols)
};

// With regroup no group may begin where updates are outstanding: groups make up the block or blocks
// the group.
size_t TileSolver::FittingBlock() const {
  const size_t group = shape_.cols_each;
  if (!options_.regroup || group % options_.block == 0) return options_.block;
  return std::max(options_.block / group, size_t{1}) * group;
}

void TileSolver::Solve(size_t first, size_t count) {
  Load(first, count);
  const size_t cols = weights_.cols();
  const MatrixView<float> tile = tile_.view().Rows(0, count);
  for (size_t from = 0; from < cols; from += block_) {
    ThrowIfCancelled();
    const size_t end = std::min(from + block_, cols);
    for (size_t r = 0; r < count; r += kAbreast) {
      RoundBlock(first, r, std::min(r + kAbreast, count), from, end);
    }
    if (end == cols) break;
    SubtractProduct(errors_.view().Rows(0, count).Cols(0, end - from),
                    factor_.ratios.view().Rows(from, end - from).Cols(end, cols - end),
                    tile.Cols(end, cols - end));
    if (carried_.rows() == 0) continue;
    SubtractProduct(carried_.view().Rows(0, count).Cols(0, end - from),
                    factor_.carried.view().Rows(from, end - from).Cols(end, cols - end),
                    tile.Cols(end, cols - end));
  }
  Store(first, count);
}

void TileSolver::Load(size_t first, size_t count) {
  for (size_t r = 0; r < count; ++r) {
    const float* row = weights_.row(first + r);
    for (size_t p = 0; p < weights_.cols(); ++p) tile_(r, p) = row[factor_.order[p]];
    const size_t scale_row = shape_.RowOf(first + r);
    for (size_t s = 0; s < shape_.cols; ++s) RowGrids(r)[s] = packed_.grid(scale_row, s);
  }
}

// One column after another; rows are independent, so several hide each other's latency.
void TileSolver::RoundBlock(size_t first_row, size_t r, size_t end_row, size_t from, size_t end) {
  for (size_t p = from; p < end; ++p) {
    const size_t s = shape_.ColOf(p);
    for (size_t i = r; options_.regroup && p == shape_.Begin(s) && i < end_row; ++i) {
      RowGrids(i)[s] = GroupGrid(first_row + i, tile_.row(i), s);
    }
    for (size_t i = r; i < end_row; ++i) RoundWeight(i, from, p, end);
  }
}

// Rounds one weight; those after it in the block take over the error.
void TileSolver::RoundWeight(size_t r, size_t from, size_t p, size_t end) {
  float* w = tile_.row(r);
  if (!std::isfinite(w[p])) {
    throw Error("the updated weights diverge", "gptq", "use a larger gptq.damp");
  }
  const Grid::Point point = RowGrids(r)[shape_.ColOf(place_[p])].Nearest(w[p]);
  const float error = w[p] - point.value;
  codes_(r, place_[p]) = static_cast<uint8_t>(point.code);
  errors_(r, p - from) = error;
  ops_.subtract_scaled(w + p + 1, error, factor_.ratios.row(p) + p + 1, end - p - 1);
  if (carried_.rows() == 0) return;
  carried_(r, p - from) = -w[p];
  ops_.subtract_scaled(w + p + 1, -w[p], factor_.carried.row(p) + p + 1, end - p - 1);
}

// For group s of the row, whose weights by position are as updated.
Grid TileSolver::GroupGrid(size_t row, const float* weights, size_t s) const {
  // Updated weights may have grown beyond any grid.
  const ScaleUnit unit = packed_.unit(row, s);
  const float widest = WidestRange(scheme_, unit);
  RangeFinder finder;
  for (size_t p = shape_.Begin(s); p < shape_.End(s); ++p) {
    float limit = widest;
    if (!limits_.empty()) limit = std::min(limit, limits_(row, shape_.ColOf(factor_.order[p])));
    finder.Add(std::clamp(weights[p], -limit, limit));
  }
  if (!options_.mse_clip) return ChooseGrid(finder.Range(), scheme_, unit);
  return SearchGrid({weights + shape_.Begin(s), shape_.Size(s)}, finder.Range(), scheme_, unit);
}

void TileSolver::Store(size_t first, size_t count) {
  for (size_t r = 0; r < count; ++r) {
    packed_.SetCodes(first + r, codes_.view().row_span(r));
    for (size_t s = 0; options_.regroup && s < shape_.cols; ++s) {
      packed_.set_grid(first + r, s, RowGrids(r)[s]);
    }
  }
}

}  // namespace

GptqFactor Factorize(MatrixView<const double> gram, double damp, bool act_order,
                     const GptqAsymmetry& asymmetry) {
  QR_CHECK_EQ(gram.rows(), gram.cols());
  const size_t n = gram.rows();
  GptqFactor factor;
  const std::vector<double> diagonal = Diagonal(gram, factor.dead);
  factor.order.resize(n);
  std::iota(factor.order.begin(), factor.order.end(), 0u);
  if (act_order) {
    std::stable_sort(factor.order.begin(), factor.order.end(),
                     [&](uint32_t a, uint32_t b) { return diagonal[a] > diagonal[b]; });
  }
  const double mean =
      std::accumulate(diagonal.begin(), diagonal.end(), 0.0) / static_cast<double>(n);

  // With J the reversal, J H J = L L^T gives H^-1 = (J L^-1 J)^T (J L^-1 J): the upper factor of
  // the inverse without the inverse.
  Matrix<double> reversed(n, n);
  factor.damp = damp;
  FillReversed(gram, diagonal, factor.order, damp * mean, reversed.view());
  while (!CholeskyLower(reversed.view())) {
    factor.damp = std::max(2 * factor.damp, kFirstRaise);
    if (factor.damp > kMostDamp) {
      throw Error("the inputs' second moments are not positive definite, however damped",
                  "calibration");
    }
    FillReversed(gram, diagonal, factor.order, factor.damp * mean, reversed.view());
  }
  InvertLower(reversed.view());

  factor.ratios = Matrix<float>(n, n);
  for (size_t j = 0; j < n; ++j) {
    float* ratios = factor.ratios.row(j);
    const double* upper = reversed.row(n - 1 - j);
    std::fill_n(ratios, j, 0.0f);
    for (size_t k = j; k < n; ++k) {
      ratios[k] = static_cast<float>(upper[n - 1 - k] / upper[n - 1 - j]);
    }
  }
  if (!asymmetry.cross.empty()) factor.carried = Carried(asymmetry, factor, reversed);
  return factor;
}

void GptqSolve(MatrixView<const float> weights, MatrixView<const float> limits,
               const GptqFactor& factor, const GptqOptions& options, PackedMatrix& packed) {
  QR_CHECK_EQ(weights.rows(), packed.rows());
  QR_CHECK_EQ(weights.cols(), packed.cols());
  QR_CHECK_EQ(weights.cols(), factor.order.size());
  QR_CHECK(options.block > 0);
  QR_CHECK(!options.regroup || packed.scheme().granularity == Granularity::kGroup);
  const size_t tiles = (weights.rows() + kTileRows - 1) / kTileRows;
  std::vector<std::unique_ptr<TileSolver>> solvers(std::min(options.threads, tiles));
  ParallelFor(tiles, solvers.size(), [&](size_t tile, size_t worker) {
    if (solvers[worker] == nullptr) {
      solvers[worker] = std::make_unique<TileSolver>(weights, limits, factor, options, packed);
    }
    const size_t first = tile * kTileRows;
    solvers[worker]->Solve(first, std::min(kTileRows, weights.rows() - first));
  });
}

}  // namespace quantref
