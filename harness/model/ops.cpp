#include "harness/model/ops.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "harness/base/align.h"
#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/quantize_activations.h"
#include "harness/kernels/thin_gemm.h"

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

void ApplyTiled(const Linear& linear, MatrixView<const float> x, MatrixView<float> y,
                LinearScratch& scratch) {
  const TiledMatrix& w = *linear.weight.tiled();
  scratch.inputs.Pack(x, linear.activations, w, ActiveIsa(), scratch.team);
  ForTiles(scratch.team, w.rows(), FreeTile(scratch.team, w.rows()),
           [&](size_t first, size_t count, size_t worker) {
             MultiplyQuantized(scratch.inputs, w, first, count, y, scratch.workers[worker].tiles);
           });
}

void ApplyThin(const DenseRows& w, MatrixView<const float> x, MatrixView<float> y, Team* team) {
  ForTiles(team, w.rows, FreeTile(team, w.rows), [&](size_t first, size_t count, size_t) {
    MultiplyThin(x, w.Rows(first, count), y.Cols(first, count));
  });
}

void ApplyDecoded(const Weight& weight, MatrixView<const float> x, MatrixView<float> y,
                  LinearScratch& scratch) {
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
    weight.DecodeRows(of_panel + at, rows);
    MultiplyTransposed(x, rows, y.Cols(of_panel + at, count));
  });
}

void ApplyDense(const Linear& linear, MatrixView<const float> x, MatrixView<float> y,
                LinearScratch& scratch) {
  if (linear.activations) {
    const MatrixView<float> rounded = Shaped(scratch.rounded, x.rows(), x.cols());
    QuantizeActivations(*linear.activations, x, rounded);
    x = rounded;
  }
  const std::optional<DenseRows> dense = linear.weight.dense();
  if (dense && x.rows() <= kThinTokens) return ApplyThin(*dense, x, y, scratch.team);
  ApplyDecoded(linear.weight, x, y, scratch);
}

}  // namespace

// Where no instruction multiplies bytes by fours (VNNI, AMX), each of the three digits of an FP32
// activation costs as much as an FP32 product, and this many tokens are worth decoding for
// (README.md has the figures).
bool MultipliesCodes(const std::optional<ActivationFormat>& activations, size_t tokens) {
  constexpr size_t kTokensToDecodeFor = 96;
  return activations || tokens < kTokensToDecodeFor || ActiveIsa() != Isa::kAvx2;
}

void ApplyLinear(const Linear& linear, MatrixView<const float> x, MatrixView<float> y,
                 LinearScratch& scratch) {
  const Weight& weight = linear.weight;
  QR_CHECK_EQ(x.cols(), weight.cols());
  QR_CHECK_EQ(y.cols(), weight.rows());
  if (scratch.workers.size() < TeamThreads(scratch.team))
    scratch.workers.resize(TeamThreads(scratch.team));
  if (weight.tiled() != nullptr && MultipliesCodes(linear.activations, x.rows())) {
    ApplyTiled(linear, x, y, scratch);
  } else {
    ApplyDense(linear, x, y, scratch);
  }
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

void ApplyRope(const RopeTable& table, size_t head_dim, MatrixView<float> x, size_t first,
               Team* team) {
  QR_CHECK_LE(table.first, first);
  QR_CHECK_LE(first + x.rows(), table.length());
  const size_t in_table = first - table.first;
  ForTokens(team, x.rows(), [&](size_t t) {
    const float* const cosines = table.cosines.row(in_table + t);
    const float* const sines = table.sines.row(in_table + t);
    for (size_t at = 0; at < x.cols(); at += head_dim) {
      Ops().rope(x.row(t) + at, cosines, sines, head_dim / 2);
    }
  });
}

namespace {

// One head: its queries and result (T, head_dim), all keys and values up to the last query's
// (S, head_dim), what the scores are multiplied by, and how many keys a query sees at most.
struct Head {
  MatrixView<const float> queries, keys, values;
  MatrixView<float> result;
  float scale;
  size_t window;

  // Of the query at this position.
  size_t FirstKey(size_t position) const { return position < window ? 0 : position - window + 1; }
};

// A (rows, cols) view of scratch that grows a page at a time, as cols grows token by token.
MatrixView<float> Grown(Matrix<float>& matrix, size_t rows, size_t cols) {
  constexpr size_t kStep = 1024;
  if (matrix.rows() * matrix.cols() < rows * cols)
    matrix = Matrix<float>(rows, RoundUp(cols, kStep));
  return {matrix.data(), rows, cols};
}

// Queries [first, first + count) of a tile against the keys that any of them sees; what one of them
// does not see has the weight 0.
void AttendTile(const Head& head, size_t first, size_t count, MatrixView<float> scores) {
  const VectorOps& ops = Ops();
  const size_t past = head.keys.rows() - head.queries.rows(), position = past + first;
  const size_t begin = head.FirstKey(position), keys = position + count - begin;
  const MatrixView<float> tile = scores.Rows(0, count).Cols(0, keys);
  const MatrixView<float> result = head.result.Rows(first, count);
  MultiplyTransposed(head.queries.Rows(first, count), head.keys.Rows(begin, keys), tile);
  float sums[kQueryTile];
  for (size_t t = 0; t < count; ++t) {
    float* const row = tile.row(t);
    const size_t seen = head.FirstKey(position + t) - begin, end = position + t + 1 - begin;
    std::fill(row, row + seen, 0.0f);
    sums[t] = ops.softmax_numerators(row + seen, head.scale, end - seen);
    std::fill(row + end, row + keys, 0.0f);
  }
  Multiply(tile, head.values.Rows(begin, keys), result);
  for (size_t t = 0; t < count; ++t) ops.scale(result.row(t), 1 / sums[t], result.cols());
}

void AttendByTiles(const Head& head, Matrix<float>& scratch) {
  const size_t tokens = head.queries.rows();
  const MatrixView<float> scores = Grown(scratch, kQueryTile, head.keys.rows());
  for (size_t first = 0; first < tokens; first += kQueryTile) {
    ThrowIfCancelled();
    AttendTile(head, first, std::min(kQueryTile, tokens - first), scores);
  }
}

void AttendRowByRow(const Head& head, Matrix<float>& scratch) {
  const VectorOps& ops = Ops();
  const size_t tokens = head.queries.rows(), dim = head.queries.cols();
  float* scores = Grown(scratch, 1, head.keys.rows()).data();
  for (size_t t = 0; t < tokens; ++t) {
    const size_t position = head.keys.rows() - tokens + t, begin = head.FirstKey(position);
    const size_t keys = position + 1 - begin;
    float* result = head.result.row(t);
    ops.dots(head.queries.row(t), head.keys.row(begin), head.keys.stride(), keys, dim, scores);
    const float sum = ops.softmax_numerators(scores, head.scale, keys);
    ops.mix_rows(scores, head.values.row(begin), head.values.stride(), keys, dim, result);
    ops.scale(result, 1 / sum, dim);
  }
}

}  // namespace

AttentionShape AttentionOf(const ModelConfig& config, size_t layer) {
  return {config.heads, config.kv_heads, config.head_dim, config.layers.at(layer).sliding_window};
}

void CausalAttention(const AttentionShape& shape, MatrixView<const float> q,
                     MatrixView<const float> k, MatrixView<const float> v,
                     std::vector<Matrix<float>>& scores, MatrixView<float> out, Team* team) {
  QR_CHECK_LE(q.rows(), k.rows());
  const size_t dim = shape.head_dim, sharing = shape.heads / shape.kv_heads;
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  const size_t window = shape.window == 0 ? k.rows() : shape.window;
  if (scores.size() < TeamThreads(team)) scores.resize(TeamThreads(team));
  RunOn(team, shape.heads, [&](size_t h, size_t worker) {
    const size_t at = h * dim, kv_at = h / sharing * dim;
    const Head head = {
        q.Cols(at, dim), k.Cols(kv_at, dim), v.Cols(kv_at, dim), out.Cols(at, dim), scale, window};
    if (q.rows() <= kThinTokens) {
      AttendRowByRow(head, scores[worker]);
    } else {
      AttendByTiles(head, scores[worker]);
    }
  });
}

}  // namespace quantref
