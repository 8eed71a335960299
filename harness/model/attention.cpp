#include "harness/model/attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/kernels/attention.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/thin_gemm.h"
#include "harness/model/attention_heads.h"

namespace quantref {
namespace {

// Of query heads [h, h + together).
Heads HeadsOf(const AttentionShape& shape, size_t h, size_t together, MatrixView<const float> q,
              MatrixView<const float> k, MatrixView<const float> v, MatrixView<float> out,
              const RoundedKv* rounded = nullptr) {
  const size_t dim = shape.head_dim, at = h * dim, kv = h / (shape.heads / shape.kv_heads);
  const double scale =
      shape.scale > 0 ? shape.scale : 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  Heads heads{q.Cols(at, together * dim),
              k.Cols(kv * dim, dim),
              v.Cols(kv * dim, dim),
              out.Cols(at, together * dim),
              static_cast<float>(scale),
              static_cast<float>(shape.softcap),
              shape.window,
              together,
              rounded == nullptr ? 0 : rounded->tokens() - k.rows(),
              rounded,
              kv};
  if (shape.window == 0) heads.window = heads.tokens();
  return heads;
}

// In place, of scores that one query gives to the keys that it sees; their sum.
float Numerators(const Heads& head, float* scores, size_t keys) {
  const VectorOps& ops = Ops();
  if (head.softcap == 0) return ops.softmax_numerators(scores, head.scale, keys);
  ops.soft_cap(scores, head.scale / head.softcap, head.softcap, keys);
  return ops.softmax_numerators(scores, 1.0f, keys);
}

// Rows [first, first + count) of the queries, in groups as the kernels take them. Column s of the
// scores is key base_ + s.
class Tile {
 public:
  Tile(const Heads& head, const PackedKeys& packed, size_t first, size_t count,
       AttentionScratch& scratch)
      : head_(head),
        packed_(packed),
        kernels_(AttentionKernelsFor(ActiveIsa())),
        first_(first),
        count_(count),
        groups_((count + kernels_.queries - 1) / kernels_.queries),
        base_(head.FirstKey(head.Position(first)) / kPanel * kPanel),
        queries_(Grown(scratch.queries, groups_ * kernels_.queries, head.dim()).data()),
        scores_(Grown(scratch.scores, groups_ * kernels_.queries, ScoreColumns())) {
    const auto query = [&](size_t r) { return head.Query(first + r); };
    PackRows(0, count, head.dim(), kernels_.queries, query, queries_);
    if (head.rounded != nullptr)
      decoded_ = Grown(scratch.decoded, std::max(kKeyBlock, head.dim()), kPanel).data();
  }

  void Run() {
    MakeScores();
    for (size_t r = 0; r < count_; ++r) Weigh(r);
    for (size_t r = 0; r < count_; ++r) std::fill_n(Result(r), head_.dim(), 0.0f);
    if (head_.rounded != nullptr) MixRounded();
    if (!AllRounded(&Heads::ValuesRounded)) MixPlain();
    for (size_t r = 0; r < count_; ++r) Ops().scale(Result(r), 1 / sums_[r], head_.dim());
  }

 private:
  // How many tokens the query at a position sees rounded, of keys or of values.
  using Rounded = size_t (Heads::*)(size_t) const;

  // Room for whole panels, and for some more, so that rows do not lie a power of 2 apart, where
  // they would drive each other from the cache.
  size_t ScoreColumns() const { return RoundUp(End(groups_ - 1) - base_, kPanel) + kPanel; }

  // Rows of a group; positions of its first query, and behind its last.
  size_t FirstRow(size_t group) const { return group * kernels_.queries; }
  size_t EndRow(size_t group) const { return std::min(count_, (group + 1) * kernels_.queries); }
  size_t PositionOf(size_t row) const { return head_.Position(first_ + row); }
  size_t Position(size_t group) const { return PositionOf(FirstRow(group)); }
  size_t End(size_t group) const { return PositionOf(EndRow(group) - 1) + 1; }
  float* Score(size_t row, size_t key) { return scores_.row(row) + (key - base_); }
  float* Result(size_t row) const { return head_.Result(first_ + row); }

  // What the first and the last query of a group see rounded, which is the least and the most.
  size_t Least(size_t group, Rounded rounded) const { return (head_.*rounded)(Position(group)); }
  size_t Most(size_t group, Rounded rounded) const { return (head_.*rounded)(End(group) - 1); }

  // Whether all queries see rounded whatever they see.
  bool AllRounded(Rounded rounded) const {
    for (size_t r = 0; r < count_; ++r) {
      if ((head_.*rounded)(PositionOf(r)) <= PositionOf(r)) return false;
    }
    return true;
  }

  void MakeScores() {
    const bool all_rounded = AllRounded(&Heads::KeysRounded);
    for (size_t key = base_; key < End(groups_ - 1); key += kPanel) {
      const bool decoded = key < Most(groups_ - 1, &Heads::KeysRounded);
      if (decoded) head_.rounded->keys().DecodeKeys(head_.kv, key, decoded_);
      for (size_t g = 0; g < groups_; ++g) {
        if (key >= End(g) || key + kPanel <= head_.FirstKey(Position(g))) continue;
        if (all_rounded || key + kPanel <= Least(g, &Heads::KeysRounded)) {
          ScorePanel(g, decoded_, Score(FirstRow(g), key), scores_.stride());
          continue;
        }
        ScorePanel(g, packed_.Panel(key), Score(FirstRow(g), key), scores_.stride());
        if (decoded && key < Most(g, &Heads::KeysRounded)) ReplaceRounded(g, key);
      }
    }
  }

  void ScorePanel(size_t group, const float* keys, float* scores, size_t stride) const {
    const size_t dim = head_.dim();
    kernels_.scores(queries_ + FirstRow(group) * dim, keys, dim, scores, stride);
  }

  // Where only some of a panel's keys, or of the queries, are such that the rounded ones count.
  void ReplaceRounded(size_t group, size_t key) {
    float rounded[AttentionKernels::kMostQueries * kPanel];
    ScorePanel(group, decoded_, rounded, kPanel);
    for (size_t r = FirstRow(group); r < EndRow(group); ++r) {
      const size_t end = head_.KeysRounded(PositionOf(r));
      if (end > key)
        std::copy_n(rounded + (r - FirstRow(group)) * kPanel, std::min(end - key, kPanel),
                    Score(r, key));
    }
  }

  // Makes weights of a row's scores; those of keys that it does not see and another of its group
  // does are 0.
  void Weigh(size_t row) {
    const size_t group = row / kernels_.queries, begin = head_.FirstKey(Position(group));
    const size_t position = PositionOf(row), seen = head_.FirstKey(position);
    std::fill(Score(row, begin), Score(row, seen), 0.0f);
    sums_[row] = Numerators(head_, Score(row, seen), position + 1 - seen);
    std::fill(Score(row, position + 1), Score(row, End(group)), 0.0f);
  }

  // Adds what the keys [begin(g), end(g)) have of each group g, block by block and panel by panel;
  // values(panel, key, end): of the keys [key, end), of one block.
  template <typename Begin, typename Finish, typename Values>
  void Mix(const Begin& begin, const Finish& end, const Values& values) {
    const size_t last = end(groups_ - 1);
    for (size_t key = std::max(base_, begin(0)); key < last; key = RoundUp(key + 1, kKeyBlock)) {
      const size_t next = std::min(RoundUp(key + 1, kKeyBlock), last);
      for (size_t panel = 0; panel < packed_.panels(); ++panel) {
        const float* const of_key = values(panel, key, next);
        for (size_t g = 0; g < groups_; ++g) {
          const size_t from = std::max({key, head_.FirstKey(Position(g)), begin(g)});
          const size_t to = std::min(next, end(g));
          if (from < to) MixGroup(g, panel, from, to, of_key + (from - key) * kPanel);
        }
      }
    }
  }

  void MixPlain() {
    Mix([&](size_t g) { return Least(g, &Heads::ValuesRounded); }, [&](size_t g) { return End(g); },
        [&](size_t panel, size_t key, size_t) { return packed_.Values(key, panel); });
  }

  // Leaves the weights of what is not rounded, and 0 for the others.
  void MixRounded() {
    float kept[kQueryTile][AttentionKernels::kMostQueries];
    for (size_t r = 0; r < count_; ++r) HidePlain(r, kept[r]);
    Mix([](size_t) { return size_t{0}; }, [&](size_t g) { return Most(g, &Heads::ValuesRounded); },
        [&](size_t panel, size_t key, size_t end) {
          head_.rounded->values().DecodeValues(head_.kv, panel, key, end - key, decoded_);
          return decoded_;
        });
    for (size_t r = 0; r < count_; ++r) ShowPlain(r, kept[r]);
  }

  // The first key that any of the row's group sees; the first value that the row does not see
  // rounded, though others of the group may.
  size_t FirstOfGroup(size_t row) const { return head_.FirstKey(Position(row / kernels_.queries)); }
  size_t FirstPlain(size_t row) const {
    return std::max(head_.ValuesRounded(PositionOf(row)), FirstOfGroup(row));
  }
  // Fewer than the group's positions: values are rounded token by token.
  size_t EndOfUnlike(size_t row) const {
    const size_t most = Most(row / kernels_.queries, &Heads::ValuesRounded);
    return std::clamp(most, FirstPlain(row), std::max(FirstPlain(row), PositionOf(row) + 1));
  }

  void HidePlain(size_t row, float* kept) {
    for (size_t key = FirstPlain(row); key < EndOfUnlike(row); ++key)
      *kept++ = std::exchange(*Score(row, key), 0.0f);
  }

  void ShowPlain(size_t row, const float* kept) {
    const size_t least = Least(row / kernels_.queries, &Heads::ValuesRounded);
    for (size_t key = std::max(least, FirstOfGroup(row)); key < FirstPlain(row); ++key)
      *Score(row, key) = 0.0f;
    for (size_t key = FirstPlain(row); key < EndOfUnlike(row); ++key) *Score(row, key) = *kept++;
  }

  // Adds what the keys [from, to), of one block, have in a panel of channels.
  void MixGroup(size_t group, size_t panel, size_t from, size_t to, const float* values) {
    float mixed[AttentionKernels::kMostQueries * kPanel];
    const size_t first = FirstRow(group), column = panel * kPanel;
    kernels_.mix(Score(first, from), scores_.stride(), values, to - from, mixed);
    const size_t channels = std::min(kPanel, head_.dim() - column);
    for (size_t r = first; r < EndRow(group); ++r)
      Ops().add(Result(r) + column, mixed + (r - first) * kPanel, channels);
  }

  const Heads& head_;
  const PackedKeys& packed_;
  const AttentionKernels& kernels_;
  size_t first_, count_, groups_, base_;
  float* queries_;
  MatrixView<float> scores_;
  float* decoded_ = nullptr;
  float sums_[kQueryTile];
};

void AttendRowByRow(const Heads& head, AttentionScratch& scratch) {
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
                     std::vector<AttentionScratch>& scratch, MatrixView<float> out, Team* team,
                     const RoundedKv* rounded) {
  QR_CHECK_LE(q.rows(), rounded == nullptr ? k.rows() : rounded->tokens());
  const size_t threads = TeamThreads(team), sharing = shape.heads / shape.kv_heads;
  if (scratch.size() < threads) scratch.resize(threads);
  if (q.rows() == 0) return;
  if (rounded == nullptr && q.rows() <= kThinTokens) {
    return RunOn(team, shape.heads, [&](size_t h, size_t worker) {
      AttendRowByRow(HeadsOf(shape, h, 1, q, k, v, out), scratch[worker]);
    });
  }
  // A KV head's parts each pack its keys and take every parts-th tile, as later ones see more.
  const size_t together = rounded == nullptr ? 1 : sharing, rows = q.rows() * together;
  const size_t tiles = (rows + kQueryTile - 1) / kQueryTile;
  const size_t parts = std::min(tiles, PartsOfHead(team, shape.kv_heads));
  RunOn(team, shape.kv_heads * parts, [&](size_t index, size_t worker) {
    const size_t first_head = index / parts * sharing, begin = index % parts * kQueryTile;
    const Heads packing = HeadsOf(shape, first_head, together, q, k, v, out, rounded);
    const PackedKeys packed(packing, begin / together, scratch[worker].keys,
                            scratch[worker].values);
    for (size_t first = begin; first < rows; first += parts * kQueryTile) {
      ThrowIfCancelled();
      for (size_t h = first_head; h < first_head + sharing; h += together) {
        const Heads heads = HeadsOf(shape, h, together, q, k, v, out, rounded);
        Tile(heads, packed, first, std::min(kQueryTile, rows - first), scratch[worker]).Run();
      }
    }
  });
}

}  // namespace quantref
