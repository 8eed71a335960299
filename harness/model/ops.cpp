#include "harness/model/ops.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "harness/base/align.h"
#include "harness/base/check.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/panel_layout.h"
#include "harness/kernels/quantize_activations.h"
#include "harness/kernels/thin_gemm.h"
#include "harness/model/adapter.h"
#include "harness/model/has_kernel.h"

namespace quantref {

// About 4 MB of FP32, small against any model; but enough rows to be worth packing x for them,
// which a product does again for each panel.
size_t PanelRows(size_t in) { return std::max<size_t>(512, (size_t{1} << 20) / in / 64 * 64); }

MatrixView<float> Shaped(Matrix<float>& matrix, size_t rows, size_t cols) {
  if (matrix.rows() != rows || matrix.cols() != cols) matrix = Matrix<float>(rows, cols);
  return matrix.view();
}

namespace {

// body(first, count, worker) for all of `rows`, `tile` at a time.
template <typename F>
void ForTiles(Team* team, size_t rows, size_t tile, const F& body) {
  RunOn(team, (rows + tile - 1) / tile, [&](size_t index, size_t worker) {
    body(index * tile, std::min(tile, rows - index * tile), worker);
  });
}

// Where an output's bits do not depend on the tile: some tiles a thread, so that nobody waits long
// for the last, and all rows at once without a team.
size_t FreeTile(Team* team, size_t rows) {
  constexpr size_t kTilesOfThread = 4;
  if (team == nullptr) return std::max<size_t>(rows, 1);
  return std::max(kQgemmTile, RoundUp(rows / (kTilesOfThread * team->threads()), kQgemmTile));
}

// A panel for a team is cut into pieces, up to this many, where our AMX kernel multiplies: its
// outputs keep their bits whatever stands beside them. OpenBLAS's do not, so there panels stay
// whole. Products too small to be shared do too.
size_t PiecesOfPanel(Team* team, MatrixView<const float> x) {
  constexpr size_t kPieces = 4;
  constexpr size_t kLeastTokens = 32, kLeastInputs = 64, kLeastProduct = size_t{1} << 14;
  const bool by_amx =
      ActiveIsa() == Isa::kAmx && x.rows() >= kLeastTokens && x.cols() >= kLeastInputs;
  return team != nullptr && by_amx && x.rows() * x.cols() >= kLeastProduct ? kPieces : 1;
}

// Rows of the pieces of a panel of `rows`, but for the last: at least 256, unless it is in one.
size_t PieceRows(size_t rows, size_t most_pieces) {
  const size_t pieces = std::clamp<size_t>(rows / 256, 1, most_pieces);
  return RoundUp((rows + pieces - 1) / pieces, 64);
}

// The input channels that are multiplied in floating point.
std::span<const uint32_t> OutliersOf(const Linear& linear, MatrixView<const float> x,
                                     LinearScratch& scratch) {
  const auto& format = linear.activations;
  if (!format || !format->outliers) return {};
  QR_CHECK_EQ(format->KeepsWeights(), linear.outlier_weights.rows() > 0);
  return scratch.finder.Find(x, format->outliers->threshold);
}

// The activations on their grid, in the scratch. Tokens that have scales of their own are rounded
// in parallel.
MatrixView<const float> Rounded(const ActivationFormat& format, MatrixView<const float> x,
                                std::span<const uint32_t> outliers, LinearScratch& scratch) {
  const MatrixView<float> rounded = Shaped(scratch.rounded, x.rows(), x.cols());
  if (!format.per_token) {
    QuantizeActivations(format, x, rounded);
    return rounded;
  }
  ForTokens(scratch.team, x.rows(), [&](size_t t) {
    QuantizeActivations(format, x.Rows(t, 1), rounded.Rows(t, 1), outliers);
  });
  return rounded;
}

void ApplyTiled(const Linear& linear, MatrixView<const float> x, std::span<const uint32_t> outliers,
                MatrixView<float> y, LinearScratch& scratch) {
  const TiledMatrix& w = *linear.weight.tiled();
  std::optional<ActivationFormat> codes = linear.activations;
  if (codes && !codes->HasIntegerProducts()) {
    x = Rounded(*codes, x, outliers, scratch);
    codes.reset();
  }
  scratch.inputs.Pack(x, codes, w, ActiveIsa(), scratch.team, outliers);
  std::optional<DenseRows> kept;
  if (!outliers.empty()) scratch.outliers.Pack(x, w, outliers);
  if (linear.outlier_weights.rows() > 0) kept = linear.outlier_weights.dense();
  ForTiles(scratch.team, w.rows(), FreeTile(scratch.team, w.rows()),
           [&](size_t first, size_t count, size_t worker) {
             LinearScratch::Worker& own = scratch.workers[worker];
             MultiplyQuantized(scratch.inputs, w, first, count, y, own.tiles);
             if (!outliers.empty()) scratch.outliers.Add(w, kept, first, count, y, own.outliers);
           });
}

void ApplyThin(const DenseRows& w, MatrixView<const float> x, MatrixView<float> y, Team* team) {
  ForTiles(team, w.rows, FreeTile(team, w.rows), [&](size_t first, size_t count, size_t) {
    MultiplyThin(x, w.Rows(first, count), y.Cols(first, count));
  });
}

// Between kThinTokens and ThinTokens dense weights take the thin kernel, whose bits do not depend
// on how weights are stored: so do the same weights where they have to be decoded first.
void MultiplyDecoded(MatrixView<const float> x, MatrixView<const float> rows, MatrixView<float> y) {
  if (x.rows() <= kThinTokens || x.rows() > ThinTokens()) return MultiplyTransposed(x, rows, y);
  MultiplyThin(x, {rows.data(), DenseRows::Type::kFp32, rows.rows(), rows.cols()}, y);
}

// rows = decoded ones of the weight from `first` on, but with the outlier channels' own numbers.
void DecodePanel(const Linear& linear, std::span<const uint32_t> outliers, size_t first,
                 MatrixView<float> rows) {
  linear.weight.DecodeRows(first, rows);
  if (linear.outlier_weights.rows() == 0) return;
  Matrix<float> channel(1, linear.weight.rows());
  for (const uint32_t c : outliers) {
    linear.outlier_weights.DecodeRows(c, channel.view());
    for (size_t r = 0; r < rows.rows(); ++r) rows(r, c) = channel(0, first + r);
  }
}

void ApplyDecoded(const Linear& linear, MatrixView<const float> x,
                  std::span<const uint32_t> outliers, MatrixView<float> y, LinearScratch& scratch) {
  const Weight& weight = linear.weight;
  const size_t cols = weight.cols(), panel_rows = std::min(PanelRows(cols), weight.rows());
  const size_t panels = (weight.rows() + panel_rows - 1) / panel_rows;
  const size_t pieces = PiecesOfPanel(scratch.team, x);
  RunOn(scratch.team, panels * pieces, [&](size_t index, size_t worker) {
    const size_t of_panel = index / pieces * panel_rows;
    const size_t in_panel = std::min(panel_rows, weight.rows() - of_panel);
    const size_t piece_rows = PieceRows(in_panel, pieces), at = index % pieces * piece_rows;
    if (at >= in_panel) return;
    const size_t count = std::min(piece_rows, in_panel - at);
    Matrix<float>& panel = scratch.workers[worker].panel;
    if (panel.rows() * panel.cols() < count * cols) panel = Matrix<float>(count, cols);
    const MatrixView<float> rows(panel.data(), count, cols);
    DecodePanel(linear, outliers, of_panel + at, rows);
    MultiplyDecoded(x, rows, y.Cols(of_panel + at, count));
  });
}

void ApplyDense(const Linear& linear, MatrixView<const float> x, std::span<const uint32_t> outliers,
                MatrixView<float> y, LinearScratch& scratch) {
  if (linear.activations) x = Rounded(*linear.activations, x, outliers, scratch);
  const std::optional<DenseRows> dense = linear.weight.dense();
  const bool as_stored = dense && linear.outlier_weights.rows() == 0;
  if (as_stored && x.rows() <= ThinTokens()) return ApplyThin(*dense, x, y, scratch.team);
  ApplyDecoded(linear, x, outliers, y, scratch);
}

// Rows for so many tokens in memory that is kept from call to call, whatever linear asked before.
MatrixView<float> RowsIn(Matrix<float>& memory, size_t rows, size_t cols) {
  if (memory.rows() * memory.cols() < rows * cols) memory = Matrix<float>(rows, cols);
  return {memory.data(), rows, cols};
}

// y (T, out) += scale B (A x), x (T, in). Both products are ApplyLinear's.
void AddAdapter(const Adapter& adapter, MatrixView<const float> x, MatrixView<float> y,
                LinearScratch& scratch) {
  const MatrixView<float> low = RowsIn(scratch.adapter_low, x.rows(), adapter.rank());
  const MatrixView<float> wide = RowsIn(scratch.adapter_wide, y.rows(), y.cols());
  ApplyLinear(adapter.down, x, low, scratch);
  for (size_t t = 0; t < low.rows(); ++t) Ops().scale(low.row(t), adapter.scale, low.cols());
  ApplyLinear(adapter.up, low, wide, scratch);
  ForTokens(scratch.team, y.rows(), [&](size_t t) { Ops().add(y.row(t), wide.row(t), y.cols()); });
}

}  // namespace

// Where no instruction multiplies bytes by fours (VNNI, AMX), the three digits of an FP32
// activation cost more than an FP32 product, and this many tokens are worth decoding for (README.md
// has the figures).
//
// A codebook costs each token a look-up a digit, whatever the activations: where FP32 products are
// faster, so are decoded panels from fewer tokens on. It leaves no channels out.
std::optional<size_t> TokensToDecodeFor(const std::optional<ActivationFormat>& activations,
                                        CodeForm form) {
  constexpr size_t kOfDigits = 96, kOfCodebook = 48;
  const bool avx2 = ActiveIsa() == Isa::kAvx2;
  if (form == CodeForm::kCodebook) {
    if (activations && activations->outliers) return 0;
    return avx2 ? kOfCodebook : kThinTokens + 1;
  }
  if (!avx2 || (activations && activations->HasIntegerProducts())) return std::nullopt;
  return kOfDigits;
}

bool MultipliesCodes(const std::optional<ActivationFormat>& activations, size_t tokens,
                     CodeForm form) {
  const std::optional<size_t> decoded = TokensToDecodeFor(activations, form);
  return !decoded || tokens < *decoded;
}

CodeForm FormOfCodes(const Weight& weight) {
  if (weight.tiled() != nullptr) return weight.tiled()->plain().form;
  const PackedMatrix* packed = weight.packed();
  const bool taken = packed != nullptr && TiledMatrix::Supports(packed->scheme(), packed->cols());
  return taken ? FormOf(packed->scheme()) : CodeForm::kPlain;
}

bool HasKernel(const Linear& linear) {
  return linear.weight.tiled() != nullptr &&
         MultipliesCodes(linear.activations, 1, FormOfCodes(linear.weight));
}

void ApplyLinear(const Linear& linear, MatrixView<const float> x, MatrixView<float> y,
                 LinearScratch& scratch) {
  const Weight& weight = linear.weight;
  QR_CHECK_EQ(x.cols(), weight.cols());
  QR_CHECK_EQ(y.cols(), weight.rows());
  if (scratch.workers.size() < TeamThreads(scratch.team))
    scratch.workers.resize(TeamThreads(scratch.team));
  const std::span<const uint32_t> outliers = OutliersOf(linear, x, scratch);
  if (weight.tiled() != nullptr &&
      MultipliesCodes(linear.activations, x.rows(), FormOfCodes(weight))) {
    ApplyTiled(linear, x, outliers, y, scratch);
  } else {
    ApplyDense(linear, x, outliers, y, scratch);
  }
  if (linear.adapter != nullptr) AddAdapter(*linear.adapter, x, y, scratch);
  if (linear.bias.empty()) return;
  ForTokens(scratch.team, y.rows(),
            [&](size_t t) { Ops().add(y.row(t), linear.bias.data(), y.cols()); });
}

void RmsNorm(MatrixView<const float> x, std::span<const float> gain, double eps,
             MatrixView<float> y, Team* team) {
  QR_CHECK_EQ(x.cols(), gain.size());
  ForTokens(team, x.rows(), [&](size_t t) {
    Ops().rms_norm(x.row(t), gain.data(), static_cast<float>(eps), y.row(t), x.cols());
  });
}

void LayerNorm(MatrixView<const float> x, std::span<const float> gain, std::span<const float> bias,
               double eps, MatrixView<float> y, Team* team) {
  QR_CHECK_EQ(x.cols(), gain.size());
  QR_CHECK_EQ(x.cols(), bias.size());
  ForTokens(team, x.rows(), [&](size_t t) {
    Ops().layer_norm(x.row(t), gain.data(), bias.data(), static_cast<float>(eps), y.row(t),
                     x.cols());
  });
}

void NormHeads(std::span<const float> gain, double eps, MatrixView<float> x, Team* team) {
  QR_CHECK_EQ(x.cols() % gain.size(), 0u);
  ForTokens(team, x.rows(), [&](size_t t) {
    for (size_t at = 0; at < x.cols(); at += gain.size()) {
      float* const head = x.row(t) + at;
      Ops().rms_norm(head, gain.data(), static_cast<float>(eps), head, gain.size());
    }
  });
}

void RotateTokens(const Rotation& rotation, MatrixView<float> x,
                  std::vector<std::vector<float>>& scratch, Team* team) {
  constexpr size_t kTile = 4;
  if (rotation.order <= 1) return;
  scratch.resize(std::max(scratch.size(), TeamThreads(team)));
  ForTiles(team, x.rows(), kTile, [&](size_t first, size_t count, size_t worker) {
    ApplyRotation(rotation, x.Rows(first, count), scratch[worker]);
  });
}

void ApplyRope(const RopeTable& table, size_t head_dim, MatrixView<float> x, size_t first,
               Team* team, bool local) {
  QR_CHECK_LE(table.first, first);
  QR_CHECK_LE(first + x.rows(), table.length());
  const Matrix<float>& cosines = local ? table.local_cosines : table.cosines;
  const Matrix<float>& sines = local ? table.local_sines : table.sines;
  const size_t in_table = first - table.first;
  ForTokens(team, x.rows(), [&](size_t t) {
    for (size_t at = 0; at < x.cols(); at += head_dim) {
      Ops().rope(x.row(t) + at, cosines.row(in_table + t), sines.row(in_table + t), cosines.cols());
    }
  });
}

}  // namespace quantref
