#include "harness/model/kv_codes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "harness/base/align.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/half.h"
#include "harness/kernels/attention.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

size_t BlockBytes(int bits) { return 2 * static_cast<size_t>(bits); }

// Sixteen codes, `stride` apart, as the kernels read them.
void PackBlock(const uint8_t* codes, size_t stride, int bits, uint8_t* block) {
  for (size_t half = 0; half < 2; ++half, block += bits) {
    uint64_t word = 0;
    for (size_t i = 0; i < kKvBlock / 2; ++i, codes += stride)
      word |= uint64_t{*codes} << (i * static_cast<size_t>(bits));
    std::memcpy(block, &word, static_cast<size_t>(bits));
  }
}

// One code of a block, the others left alone.
void SetCode(uint8_t code, size_t lane, int bits, uint8_t* block) {
  const size_t at = lane * static_cast<size_t>(bits), shift = at % 8;
  const unsigned mask = ((1u << bits) - 1) << shift, shifted = unsigned{code} << shift;
  uint8_t* const byte = block + at / 8;
  byte[0] = static_cast<uint8_t>((byte[0] & ~mask) | shifted);
  if (mask > 0xff) byte[1] = static_cast<uint8_t>((byte[1] & ~(mask >> 8)) | shifted >> 8);
}

struct Extremes {
  float lo = INFINITY, hi = -INFINITY, zero = 0;  // zero: NaN where a number is not finite

  void Add(float x) {
    lo = std::min(lo, x);
    hi = std::max(hi, x);
    zero += 0.0f * x;
  }
};

// How many parts of this size n has, the last one maybe shorter.
size_t PartsOf(size_t n, size_t size) { return (n + size - 1) / size; }

}  // namespace

// Codes of up to sixteen tokens, of a run that begins at a multiple of sixteen, in up to sixteen
// channels of a head: codes[token % 16][channel % 16].
struct KvCodes::Slice {
  size_t head, channel, channels;  // the first channel, and how many
  size_t from, to;                 // tokens
  uint8_t codes[kKvBlock][kKvBlock] = {};
};

KvCodes::Room KvCodes::RoomFor(const KvScheme& scheme, Side side, size_t heads, size_t dim,
                               size_t capacity) {
  Room room{.capacity = RoundUp(capacity, kKvBlock), .panels = PartsOf(dim, kKvBlock)};
  const KvReach reach = side == Side::kKeys ? scheme.keys : scheme.values;
  const bool by_channel = side == Side::kKeys && reach == KvReach::kChannel;
  const bool row = reach == KvReach::kToken && scheme.group == 0;
  room.span = reach == KvReach::kHead || row ? dim : std::min(scheme.group, dim);
  room.groups = by_channel ? heads * dim : row ? 1 : heads * PartsOf(dim, room.span);
  const size_t blocks = side == Side::kKeys ? heads * room.capacity / kKvBlock * dim
                                            : heads * room.panels * room.capacity;
  room.codes = blocks * BlockBytes(scheme.bits) + AttentionKernels::kPadding;
  const size_t tokens = by_channel ? PartsOf(room.capacity, scheme.group) : room.capacity;
  room.scales = tokens * room.groups;
  room.minima = scheme.symmetric ? 0 : room.scales;
  return room;
}

KvCodes::KvCodes(const KvScheme& scheme, Side side, size_t heads, size_t dim, size_t capacity)
    : scheme_(scheme),
      side_(side),
      heads_(heads),
      dim_(dim),
      room_(RoomFor(scheme, side, heads, dim, capacity)),
      codes_(room_.codes),
      scales_(room_.scales),
      minima_(room_.minima) {}

size_t KvCodes::GroupOf(size_t head, size_t channel) const {
  return room_.groups == 1 ? 0 : head * PartsOf(dim_, room_.span) + channel / room_.span;
}

// Keys' lie sixteen tokens side by side.
size_t KvCodes::GridAt(size_t token, size_t group) const {
  if (side_ == Side::kValues) return token * room_.groups + group;
  return (token / kKvBlock * room_.groups + group) * kKvBlock + token % kKvBlock;
}

uint8_t* KvCodes::Block(size_t head, size_t token, size_t channel) {
  const size_t block = side_ == Side::kKeys
                           ? (head * room_.capacity / kKvBlock + token / kKvBlock) * dim_ + channel
                           : (head * room_.panels + channel / kKvBlock) * room_.capacity + token;
  return codes_.data() + block * BlockBytes(scheme_.bits);
}

KvRounder KvCodes::RounderAt(size_t grid) const {
  return {scheme_, {scales_[grid], scheme_.symmetric ? uint16_t{0} : minima_[grid]}};
}

// What is not finite must not look as if it were.
void KvCodes::SetGrid(size_t at, float lo, float hi, bool finite, KvLoss& loss) {
  const KvGrid grid = finite ? KvGridFor(scheme_, lo, hi) : KvGridFor(scheme_, NAN, NAN);
  scales_[at] = grid.scale;
  if (!scheme_.symmetric) minima_[at] = grid.minimum;
  if (finite) loss.Add(scheme_, grid, lo, hi);
}

void KvCodes::MakeTokenGrids(size_t token, const float* row, KvLoss& loss) {
  const size_t width = room_.groups == 1 ? heads_ * dim_ : dim_;
  const size_t span = room_.groups == 1 ? width : room_.span;
  size_t group = 0;
  for (size_t head = 0; head < heads_ * dim_; head += width) {
    for (size_t c = 0; c < width; c += span, ++group) {
      Extremes of_group;
      for (size_t i = head + c; i < head + std::min(c + span, width); ++i) of_group.Add(row[i]);
      SetGrid(GridAt(token, group), of_group.lo, of_group.hi, std::isfinite(of_group.zero), loss);
    }
  }
}

void KvCodes::Put(const Slice& slice) {
  const int bits = scheme_.bits;
  if (side_ == Side::kValues) {
    for (size_t t = slice.from; t < slice.to; ++t)
      PackBlock(slice.codes[t % kKvBlock], 1, bits, Block(slice.head, t, slice.channel));
    return;
  }
  const bool whole = slice.to - slice.from == kKvBlock;
  for (size_t c = 0; c < slice.channels; ++c) {
    uint8_t* const block = Block(slice.head, slice.from, slice.channel + c);
    if (whole) {
      PackBlock(&slice.codes[0][c], kKvBlock, bits, block);
      continue;
    }
    for (size_t t = slice.from; t < slice.to; ++t)
      SetCode(slice.codes[t % kKvBlock][c], t % kKvBlock, bits, block);
  }
}

// Of one run of sixteen, whose first row is token `first`.
void KvCodes::RoundTokens(MatrixView<const float> rows, size_t first, size_t from, size_t to,
                          KvLoss& loss) {
  for (size_t t = from; t < to; ++t) MakeTokenGrids(t, rows.row(t - first), loss);
  for (size_t head = 0; head < heads_; ++head) {
    for (size_t channel = 0; channel < dim_; channel += kKvBlock) {
      Slice slice{head, channel, std::min(kKvBlock, dim_ - channel), from, to};
      for (size_t t = from; t < to; ++t) {
        const KvRounder rounder = RounderAt(GridAt(t, GroupOf(head, channel)));
        const float* const row = rows.row(t - first) + head * dim_ + channel;
        for (size_t c = 0; c < slice.channels; ++c)
          slice.codes[t % kKvBlock][c] = rounder.Code(row[c]);
      }
      Put(slice);
    }
  }
}

// Keys by channel, of one group of tokens; `rows` are these.
void KvCodes::RoundGroup(MatrixView<const float> rows, size_t group, KvLoss& loss) {
  for (size_t head = 0; head < heads_; ++head) {
    for (size_t channel = 0; channel < dim_; channel += kKvBlock) {
      const size_t channels = std::min(kKvBlock, dim_ - channel), column = head * dim_ + channel;
      Extremes extremes[kKvBlock];
      for (size_t t = 0; t < rows.rows(); ++t) {
        for (size_t c = 0; c < channels; ++c) extremes[c].Add(rows(t, column + c));
      }
      KvRounder rounders[kKvBlock];
      for (size_t c = 0; c < channels; ++c) {
        const size_t at = group * room_.groups + column + c;
        SetGrid(at, extremes[c].lo, extremes[c].hi, std::isfinite(extremes[c].zero), loss);
        rounders[c] = RounderAt(at);
      }
      for (size_t run = 0; run < rows.rows(); run += kKvBlock) {
        const size_t from = group * scheme_.group + run;
        Slice slice{head, channel, channels, from, from + kKvBlock};
        for (size_t t = 0; t < kKvBlock; ++t) {
          for (size_t c = 0; c < channels; ++c)
            slice.codes[t][c] = rounders[c].Code(rows(run + t, column + c));
        }
        Put(slice);
      }
    }
  }
}

void KvCodes::Round(MatrixView<const float> rows, size_t first, size_t until, Team* team) {
  if (until <= rounded_) return;
  QR_CHECK_LE(first, rounded_);
  QR_CHECK_LE(until, first + rows.rows());
  QR_CHECK_LE(until, room_.capacity);
  const size_t step = by_channel() ? scheme_.group : kKvBlock;
  const size_t begin = rounded_ / step, end = PartsOf(until, step);
  const auto round = [&](size_t i, KvLoss& loss) {
    const size_t from = (begin + i) * step;
    if (by_channel()) return RoundGroup(rows.Rows(from - first, step), begin + i, loss);
    RoundTokens(rows, first, std::max(from, rounded_), std::min(from + step, until), loss);
  };
  if (end - begin == 1) {  // as each token that is decoded: without allocating
    round(0, loss_);
  } else {
    std::vector<KvLoss> losses(end - begin);
    RunOn(team, losses.size(), [&](size_t i, size_t) { round(i, losses[i]); });
    for (const KvLoss& loss : losses) loss_.Add(loss);
  }
  rounded_ = until;
}

void KvCodes::Forget(size_t tokens) {
  rounded_ = std::min(rounded_, tokens);
  if (tokens == 0) loss_ = {};
}

void KvCodes::DecodeKeys(size_t head, size_t first, float* numbers) const {
  const AttentionKernels& kernels = AttentionKernelsFor(ActiveIsa());
  const int bits = scheme_.bits;
  if (by_channel()) {
    const size_t at = first / scheme_.group * room_.groups + head * dim_;
    return kernels.decode_blocks(Block(head, first, 0), bits, dim_, scales_.data() + at, Minima(at),
                                 1, numbers);
  }
  for (size_t c = 0; c < dim_; c += room_.span) {
    const size_t at = GridAt(first, GroupOf(head, c));
    kernels.decode_lanes(Block(head, first, c), bits, std::min(room_.span, dim_ - c),
                         scales_.data() + at, Minima(at), numbers + c * kKvBlock);
  }
}

void KvCodes::DecodeValues(size_t head, size_t panel, size_t first, size_t count,
                           float* numbers) const {
  const size_t channel = panel * kKvBlock, at = GridAt(first, GroupOf(head, channel));
  AttentionKernelsFor(ActiveIsa())
      .decode_blocks(Block(head, first, channel), scheme_.bits, count, scales_.data() + at,
                     Minima(at), room_.groups, numbers);
}

void KvCodes::DecodeToken(size_t token, float* row) const {
  QR_CHECK_LT(token, rounded_);
  std::vector<float> numbers(std::max(dim_, kKvBlock) * kKvBlock);
  for (size_t head = 0; head < heads_; ++head, row += dim_) {
    if (side_ == Side::kKeys) {
      DecodeKeys(head, token / kKvBlock * kKvBlock, numbers.data());
      for (size_t c = 0; c < dim_; ++c) row[c] = numbers[c * kKvBlock + token % kKvBlock];
      continue;
    }
    for (size_t panel = 0; panel < room_.panels; ++panel) {
      DecodeValues(head, panel, token, 1, numbers.data());
      std::copy_n(numbers.data(), std::min(kKvBlock, dim_ - panel * kKvBlock),
                  row + panel * kKvBlock);
    }
  }
}

size_t KvCodes::Bytes(const KvScheme& scheme, Side side, size_t heads, size_t dim,
                      size_t capacity) {
  const Room room = RoomFor(scheme, side, heads, dim, capacity);
  return room.codes + sizeof(uint16_t) * (room.scales + room.minima);
}

double KvCodes::TokenBytes() const {
  const size_t channels = side_ == Side::kKeys ? dim_ : room_.panels * kKvBlock;
  const double grids = static_cast<double>(room_.groups * (scheme_.symmetric ? 2 : 4));
  return static_cast<double>(heads_ * channels * static_cast<size_t>(scheme_.bits)) / 8 +
         (by_channel() ? grids / static_cast<double>(scheme_.group) : grids);
}

RoundedKv::RoundedKv(const KvScheme& scheme, size_t kv_heads, size_t head_dim, size_t capacity)
    : scheme_(scheme),
      capacity_(capacity),
      keys_(scheme, KvCodes::Side::kKeys, kv_heads, head_dim, capacity),
      values_(scheme, KvCodes::Side::kValues, kv_heads, head_dim, capacity),
      waiting_keys_(std::min(scheme.MostWaiting(), capacity), kv_heads * head_dim),
      waiting_values_(waiting_keys_.rows(), kv_heads * head_dim) {
  for (Matrix<float>* waiting : {&waiting_keys_, &waiting_values_})
    std::fill_n(waiting->data(), waiting->rows() * waiting->cols(), 0.0f);
}

bool RoundedKv::Holds(const KvScheme& scheme, size_t kv_heads, size_t head_dim,
                      size_t tokens) const {
  return scheme_ == scheme && keys_.heads() == kv_heads && keys_.dim() == head_dim &&
         tokens <= capacity_;
}

void RoundedKv::Forget(size_t tokens) {
  QR_CHECK_LE(tokens, tokens_);
  if (tokens == tokens_) return;
  const size_t keys = scheme_.RoundedKeys(tokens), values = scheme_.RoundedValues(tokens);
  const size_t first = std::min(keys, values);
  // Those that wait again come before those that still do.
  for (const auto& [waiting, codes] :
       {std::pair(&waiting_keys_, &keys_), std::pair(&waiting_values_, &values_)}) {
    for (size_t t = tokens; t-- > std::max(first, first_);)
      std::memmove(waiting->row(t - first), waiting->row(t - first_),
                   waiting->cols() * sizeof(float));
    for (size_t t = first; t < std::min(first_, tokens); ++t)
      codes->DecodeToken(t, waiting->row(t - first));
  }
  keys_.Forget(keys);
  values_.Forget(values);
  first_ = first;
  tokens_ = tokens;
}

void RoundedKv::CopyWaiting(MatrixView<float> keys, MatrixView<float> values) const {
  for (size_t t = 0; t < waiting(); ++t) {
    std::copy_n(waiting_keys_.row(t), keys.cols(), keys.row(t));
    std::copy_n(waiting_values_.row(t), values.cols(), values.row(t));
  }
}

void RoundedKv::Add(MatrixView<const float> keys, MatrixView<const float> values, Team* team) {
  const size_t seen = first_ + keys.rows();
  QR_CHECK_LE(tokens_, seen);
  QR_CHECK_LE(seen, capacity_);
  keys_.Round(keys, first_, scheme_.RoundedKeys(seen), team);
  values_.Round(values, first_, scheme_.RoundedValues(seen), team);
  const size_t first = std::min(keys_.rounded(), values_.rounded());
  for (size_t t = first; t < seen; ++t) {
    std::copy_n(keys.row(t - first_), keys.cols(), waiting_keys_.row(t - first));
    std::copy_n(values.row(t - first_), values.cols(), waiting_values_.row(t - first));
  }
  first_ = first;
  tokens_ = seen;
}

void RoundedKv::CheckLoss(size_t layer) const {
  for (const auto& [side, codes] : {std::pair("keys", &keys_), std::pair("values", &values_)}) {
    const double loss = codes->loss().Relative();
    if (loss <= KvLoss::kMost) continue;
    throw Error(fmt::format("FP16 scales and minima do not hold its {}: they change them by {:.2g} "
                            "of their size (root mean square, expected at most {:.2g})",
                            side, loss, KvLoss::kMost),
                fmt::format("the rounded cache of layer {}", layer),
                fmt::format("FP16 has no numbers beyond {} and coarse ones below 6e-5: such a "
                            "model's cache cannot be rounded so",
                            kMaxHalf));
  }
}

size_t RoundedKv::bytes() const { return Bytes(scheme_, keys_.heads(), keys_.dim(), capacity_); }

size_t RoundedKv::Bytes(const KvScheme& scheme, size_t kv_heads, size_t head_dim, size_t capacity) {
  const auto codes = [&](KvCodes::Side side) {
    return KvCodes::Bytes(scheme, side, kv_heads, head_dim, capacity);
  };
  const size_t waiting = std::min(scheme.MostWaiting(), capacity) * kv_heads * head_dim;
  return codes(KvCodes::Side::kKeys) + codes(KvCodes::Side::kValues) + 2 * sizeof(float) * waiting;
}

KvCost CostOf(const KvScheme& scheme, size_t kv_heads, size_t head_dim) {
  const KvCodes keys(scheme, KvCodes::Side::kKeys, kv_heads, head_dim, 1);
  const KvCodes values(scheme, KvCodes::Side::kValues, kv_heads, head_dim, 1);
  const double numbers = static_cast<double>(kv_heads * head_dim);
  return {8 * keys.TokenBytes() / numbers, 8 * values.TokenBytes() / numbers,
          keys.TokenBytes() + values.TokenBytes()};
}

}  // namespace quantref
