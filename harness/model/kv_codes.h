#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/team.h"
#include "harness/kernels/attention_kernels.h"
#include "harness/quant/kv_loss.h"
#include "harness/quant/kv_scheme.h"

namespace quantref {

// The rounded keys, or the rounded values, of one block's cache, as codes: so packed, keys sixteen
// tokens and values sixteen channels side by side, that attention's products read what a block of
// sixteen decodes to as it is.
class KvCodes {
 public:
  enum class Side { kKeys, kValues };

  // Room for `capacity` tokens of (heads, dim) numbers.
  KvCodes(const KvScheme& scheme, Side side, size_t heads, size_t dim, size_t capacity);

  size_t rounded() const { return rounded_; }  // tokens, the first ones
  size_t heads() const { return heads_; }
  size_t dim() const { return dim_; }
  size_t panels() const { return room_.panels; }  // of a head's channels
  const KvLoss& loss() const { return loss_; }    // of what was rounded since Forget(0)

  // Rounds the tokens from rounded() on up to `until`. `rows` (n, heads * dim): tokens
  // [first, first + n), with first <= rounded() and until <= first + n; keys by channel: whole
  // groups.
  void Round(MatrixView<const float> rows, size_t first, size_t until, Team* team = nullptr);
  void Forget(size_t tokens);  // all but the first so many

  // Of keys: numbers[c * 16 + i] = channel c of token first + i, in a head; first: a multiple of
  // 16. Lanes behind rounded() have any number.
  void DecodeKeys(size_t head, size_t first, float* numbers) const;
  // Of values: numbers[s * 16 + i] = channel panel * 16 + i of token first + s, in a head.
  void DecodeValues(size_t head, size_t panel, size_t first, size_t count, float* numbers) const;
  // All heads' of one token that is rounded, (heads * dim).
  void DecodeToken(size_t token, float* row) const;

  // Of memory: all that such an object takes, and what one more token of a long text takes (of keys
  // by channel as an average).
  static size_t Bytes(const KvScheme& scheme, Side side, size_t heads, size_t dim, size_t capacity);
  double TokenBytes() const;

 private:
  struct Slice;
  struct Room {
    size_t capacity;    // tokens, whole blocks of them
    size_t panels;      // of a head's channels
    size_t span = 0;    // channels of a head that share a grid of a token
    size_t groups = 0;  // of a token's numbers; of keys by channel: channels of all heads
    size_t codes = 0;   // bytes
    size_t scales = 0, minima = 0;  // numbers
  };
  static Room RoomFor(const KvScheme& scheme, Side side, size_t heads, size_t dim, size_t capacity);
  bool by_channel() const { return side_ == Side::kKeys && scheme_.keys == KvReach::kChannel; }
  size_t GroupOf(size_t head, size_t channel) const;  // of a token's numbers
  size_t GridAt(size_t token, size_t group) const;
  uint8_t* Block(size_t head, size_t token, size_t channel);
  const uint8_t* Block(size_t head, size_t token, size_t channel) const {
    return const_cast<KvCodes*>(this)->Block(head, token, channel);
  }
  const uint16_t* Minima(size_t at) const {
    return scheme_.symmetric ? nullptr : minima_.data() + at;
  }
  KvRounder RounderAt(size_t grid) const;
  void SetGrid(size_t at, float lo, float hi, bool finite, KvLoss& loss);
  void MakeTokenGrids(size_t token, const float* row, KvLoss& loss);
  void RoundTokens(MatrixView<const float> rows, size_t first, size_t from, size_t to,
                   KvLoss& loss);
  void RoundGroup(MatrixView<const float> rows, size_t group, KvLoss& loss);
  void Put(const Slice& slice);

  KvScheme scheme_;
  Side side_;
  size_t heads_, dim_;
  Room room_;
  size_t rounded_ = 0;
  KvLoss loss_;
  std::vector<uint8_t> codes_;
  std::vector<uint16_t> scales_, minima_;
};

// A block's cache: what is rounded as codes, and the last tokens as they are, as long as their keys
// or values wait.
class RoundedKv {
 public:
  RoundedKv(const KvScheme& scheme, size_t kv_heads, size_t head_dim, size_t capacity);

  const KvScheme& scheme() const { return scheme_; }
  size_t capacity() const { return capacity_; }
  // Whether it is one of this scheme and these heads, with room for so many tokens.
  bool Holds(const KvScheme& scheme, size_t kv_heads, size_t head_dim, size_t tokens) const;
  size_t tokens() const { return tokens_; }
  size_t waiting() const { return tokens_ - first_; }

  // All but the first so many, of which those that wait again are what they were rounded to.
  void Forget(size_t tokens);
  // Those that wait: (waiting(), kv_heads * head_dim).
  void CopyWaiting(MatrixView<float> keys, MatrixView<float> values) const;
  // Adds tokens behind the waiting ones, which stand before them in both matrices, and rounds
  // what the last of them sees rounded.
  void Add(MatrixView<const float> keys, MatrixView<const float> values, Team* team = nullptr);

  // Throws Error, naming the block, where FP16 scales and minima are too large or too small for
  // what was added since Forget(0), of its keys or of its values.
  void CheckLoss(size_t layer) const;

  const KvCodes& keys() const { return keys_; }
  const KvCodes& values() const { return values_; }

  size_t bytes() const;  // of memory
  static size_t Bytes(const KvScheme& scheme, size_t kv_heads, size_t head_dim, size_t capacity);

 private:
  KvScheme scheme_;
  size_t capacity_, first_ = 0, tokens_ = 0;
  KvCodes keys_, values_;
  Matrix<float> waiting_keys_, waiting_values_;  // rows of the tokens [first_, tokens_)
};

// Of a block's cache of a long text, beside what waits: bits a number, scales and minima counted,
// and bytes a token.
struct KvCost {
  double key_bits, value_bits, bytes;
};
KvCost CostOf(const KvScheme& scheme, size_t kv_heads, size_t head_dim);

}  // namespace quantref
