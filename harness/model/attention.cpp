#include "harness/model/attention.h"

#include <algorithm>
#include <cmath>

#include "harness/base/align.h"
#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/kernels/attention.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/thin_gemm.h"

namespace quantref {
namespace {

constexpr size_t kPanel = 16;      // keys, or channels of values, side by side
constexpr size_t kKeyBlock = 256;  // positions whose values are summed before they are added

// One query head: its queries and result (T, head_dim), all keys and values up to the last query's
// (S, head_dim).
struct Head {
  MatrixView<const float> queries, keys, values;
  MatrixView<float> result;
  float scale, softcap;
  size_t window;  // keys that a query sees at most

  size_t dim() const { return keys.cols(); }
  size_t past() const { return keys.rows() - queries.rows(); }
  // Of the query at this position.
  size_t FirstKey(size_t position) const { return position < window ? 0 : position - window + 1; }
};

Head HeadOf(const AttentionShape& shape, size_t h, MatrixView<const float> q,
            MatrixView<const float> k, MatrixView<const float> v, MatrixView<float> out) {
  const size_t dim = shape.head_dim, at = h * dim, kv = h / (shape.heads / shape.kv_heads) * dim;
  const double scale =
      shape.scale > 0 ? shape.scale : 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  return {q.Cols(at, dim),
          k.Cols(kv, dim),
          v.Cols(kv, dim),
          out.Cols(at, dim),
          static_cast<float>(scale),
          static_cast<float>(shape.softcap),
          shape.window == 0 ? k.rows() : shape.window};
}

// A (rows, cols) view of scratch that grows in steps, as a text grows token by token.
MatrixView<float> Grown(Matrix<float>& matrix, size_t rows, size_t cols) {
  constexpr size_t kStep = 1024;
  const size_t needed = rows * cols;
  if (matrix.rows() * matrix.cols() < needed) matrix = Matrix<float>(1, RoundUp(needed, kStep));
  return {matrix.data(), rows, cols};
}

// In place, of scores that one query gives to the keys that it sees; their sum.
float Numerators(const Head& head, float* scores, size_t keys) {
  const VectorOps& ops = Ops();
  if (head.softcap == 0) return ops.softmax_numerators(scores, head.scale, keys);
  ops.soft_cap(scores, head.scale / head.softcap, head.softcap, keys);
  return ops.softmax_numerators(scores, 1.0f, keys);
}

// Rows of (count, cols) side by side, column by column, `width` to a panel: element (r, c) at
// panels[(r / width) * cols * width + c * width + r % width]. What is missing of the last is 0.
void PackRows(MatrixView<const float> rows, size_t width, float* panels) {
  for (size_t first = 0; first < rows.rows(); first += width, panels += rows.cols() * width) {
    const size_t count = std::min(width, rows.rows() - first);
    if (count < width) std::fill_n(panels, rows.cols() * width, 0.0f);
    for (size_t r = 0; r < count; ++r) {
      const float* const row = rows.row(first + r);
      for (size_t c = 0; c < rows.cols(); ++c) panels[c * width + r] = row[c];
    }
  }
}

// One head's keys, sixteen to a panel; and its values in blocks of kKeyBlock positions, each as
// panels of sixteen channels. What is missing of the last channels is 0.
class PackedKeys {
 public:
  PackedKeys(const Head& head, AttentionScratch& scratch)
      : dim_(head.dim()), panels_((dim_ + kPanel - 1) / kPanel) {
    const size_t keys = head.keys.rows();
    keys_ = Grown(scratch.keys, RoundUp(keys, kPanel), dim_).data();
    PackRows(head.keys, kPanel, keys_);
    values_ = Grown(scratch.values, RoundUp(keys, kKeyBlock), panels_ * kPanel).data();
    for (size_t s = 0; s < keys; ++s) {
      for (size_t p = 0; p < panels_; ++p) {
        const size_t channels = std::min(kPanel, dim_ - p * kPanel);
        float* const to = ValuesAt(s, p);
        std::copy_n(head.values.row(s) + p * kPanel, channels, to);
        std::fill(to + channels, to + kPanel, 0.0f);
      }
    }
  }

  const float* Panel(size_t first_key) const { return keys_ + first_key * dim_; }
  // From this key on, as far as its block goes.
  const float* Values(size_t key, size_t panel) const { return ValuesAt(key, panel); }
  size_t panels() const { return panels_; }  // of values

 private:
  float* ValuesAt(size_t key, size_t panel) const {
    const size_t block = key / kKeyBlock, in_block = key % kKeyBlock;
    return values_ + ((block * panels_ + panel) * kKeyBlock + in_block) * kPanel;
  }

  size_t dim_, panels_;
  float *keys_, *values_;
};

// Queries [first, first + count) of a head, in groups as the kernels take them. Column s of the
// scores is key base_ + s.
class Tile {
 public:
  Tile(const Head& head, const PackedKeys& packed, size_t first, size_t count,
       AttentionScratch& scratch)
      : head_(head),
        packed_(packed),
        kernels_(AttentionKernelsFor(ActiveIsa())),
        first_(first),
        count_(count),
        groups_((count + kernels_.queries - 1) / kernels_.queries),
        base_(head.FirstKey(head.past() + first) / kPanel * kPanel),
        queries_(Grown(scratch.queries, groups_ * kernels_.queries, head.dim()).data()),
        scores_(Grown(scratch.scores, groups_ * kernels_.queries, ScoreColumns())) {
    PackRows(head.queries.Rows(first, count), kernels_.queries, queries_);
  }

  void Run() {
    MakeScores();
    for (size_t g = 0; g < groups_; ++g) Weigh(g);
    Mix();
    for (size_t t = 0; t < count_; ++t)
      Ops().scale(head_.result.row(first_ + t), 1 / sums_[t], head_.dim());
  }

 private:
  // Room for whole panels, and for some more, so that rows do not lie a power of 2 apart, where
  // they would drive each other from the cache.
  size_t ScoreColumns() const { return RoundUp(End(groups_ - 1) - base_, kPanel) + kPanel; }

  // Positions of a group's first query, and behind its last.
  size_t Position(size_t group) const { return head_.past() + first_ + group * kernels_.queries; }
  size_t End(size_t group) const {
    return head_.past() + first_ + std::min(count_, (group + 1) * kernels_.queries);
  }
  float* Score(size_t t, size_t key) { return scores_.row(t) + (key - base_); }

  void MakeScores() {
    const size_t dim = head_.dim(), group_size = kernels_.queries;
    for (size_t key = base_; key < End(groups_ - 1); key += kPanel) {
      for (size_t g = 0; g < groups_; ++g) {
        if (key >= End(g) || key + kPanel <= head_.FirstKey(Position(g))) continue;
        kernels_.scores(queries_ + g * group_size * dim, packed_.Panel(key), dim,
                        Score(g * group_size, key), scores_.stride());
      }
    }
  }

  // Makes weights of a group's scores; those of keys that one query sees and another does not are 0
  // for the other.
  void Weigh(size_t group) {
    const size_t begin = head_.FirstKey(Position(group)), end = End(group);
    for (size_t position = Position(group); position < end; ++position) {
      const size_t t = position - head_.past() - first_, seen = head_.FirstKey(position);
      std::fill(Score(t, begin), Score(t, seen), 0.0f);
      sums_[t] = Numerators(head_, Score(t, seen), position + 1 - seen);
      std::fill(Score(t, position + 1), Score(t, end), 0.0f);
    }
  }

  void Mix() {
    for (size_t t = 0; t < count_; ++t)
      std::fill_n(head_.result.row(first_ + t), head_.dim(), 0.0f);
    const size_t end = End(groups_ - 1);
    for (size_t key = base_; key < end; key = RoundUp(key + 1, kKeyBlock)) {
      for (size_t panel = 0; panel < packed_.panels(); ++panel) {
        for (size_t g = 0; g < groups_; ++g) {
          const size_t from = std::max(key, head_.FirstKey(Position(g)));
          const size_t to = std::min(RoundUp(key + 1, kKeyBlock), End(g));
          if (from < to) MixGroup(g, panel, from, to);
        }
      }
    }
  }

  // Adds what the keys [from, to), of one block, have in a panel of channels.
  void MixGroup(size_t group, size_t panel, size_t from, size_t to) {
    float mixed[AttentionKernels::kMostQueries * kPanel];
    const size_t row = group * kernels_.queries, column = panel * kPanel;
    kernels_.mix(Score(row, from), scores_.stride(), packed_.Values(from, panel), to - from, mixed);
    const size_t channels = std::min(kPanel, head_.dim() - column);
    for (size_t t = row; t < std::min(row + kernels_.queries, count_); ++t)
      Ops().add(head_.result.row(first_ + t) + column, mixed + (t - row) * kPanel, channels);
  }

  const Head& head_;
  const PackedKeys& packed_;
  const AttentionKernels& kernels_;
  size_t first_, count_, groups_, base_;
  float* queries_;
  MatrixView<float> scores_;
  float sums_[kQueryTile];
};

void AttendRowByRow(const Head& head, AttentionScratch& scratch) {
  const VectorOps& ops = Ops();
  float* scores = Grown(scratch.scores, 1, head.keys.rows()).data();
  for (size_t t = 0; t < head.queries.rows(); ++t) {
    const size_t position = head.past() + t, begin = head.FirstKey(position);
    const size_t keys = position + 1 - begin;
    float* result = head.result.row(t);
    ops.dots(head.queries.row(t), head.keys.row(begin), head.keys.stride(), keys, head.dim(),
             scores);
    const float sum = Numerators(head, scores, keys);
    ops.mix_rows(scores, head.values.row(begin), head.values.stride(), keys, head.dim(), result);
    ops.scale(result, 1 / sum, head.dim());
  }
}

// So many that nobody waits long for the last.
size_t PartsOfHead(Team* team, size_t kv_heads) {
  constexpr size_t kPartsOfThread = 4;
  if (team == nullptr) return 1;
  return (kPartsOfThread * team->threads() + kv_heads - 1) / kv_heads;
}

}  // namespace

AttentionShape AttentionOf(const ModelConfig& config, size_t layer) {
  return {config.heads,           config.kv_heads,
          config.head_dim,        config.layers.at(layer).sliding_window,
          config.attention_scale, config.attention_softcap};
}

void CausalAttention(const AttentionShape& shape, MatrixView<const float> q,
                     MatrixView<const float> k, MatrixView<const float> v,
                     std::vector<AttentionScratch>& scratch, MatrixView<float> out, Team* team) {
  QR_CHECK_LE(q.rows(), k.rows());
  const size_t threads = TeamThreads(team), sharing = shape.heads / shape.kv_heads;
  if (scratch.size() < threads) scratch.resize(threads);
  if (q.rows() <= kThinTokens) {
    return RunOn(team, shape.heads, [&](size_t h, size_t worker) {
      AttendRowByRow(HeadOf(shape, h, q, k, v, out), scratch[worker]);
    });
  }
  // A KV head's parts each pack its keys and take every parts-th tile, as later ones see more.
  const size_t tiles = (q.rows() + kQueryTile - 1) / kQueryTile;
  const size_t parts = std::min(tiles, PartsOfHead(team, shape.kv_heads));
  RunOn(team, shape.kv_heads * parts, [&](size_t index, size_t worker) {
    const size_t first_head = index / parts * sharing, part = index % parts;
    const PackedKeys packed(HeadOf(shape, first_head, q, k, v, out), scratch[worker]);
    for (size_t first = part * kQueryTile; first < q.rows(); first += parts * kQueryTile) {
      ThrowIfCancelled();
      for (size_t h = first_head; h < first_head + sharing; ++h) {
        const Head head = HeadOf(shape, h, q, k, v, out);
        Tile(head, packed, first, std::min(kQueryTile, q.rows() - first), scratch[worker]).Run();
      }
    }
  });
}

}  // namespace quantref
