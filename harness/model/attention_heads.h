#pragma once

#include <algorithm>
#include <cstddef>

#include "harness/base/align.h"
#include "harness/base/matrix.h"
#include "harness/model/kv_codes.h"

namespace quantref {

// What attention.cpp's tiles read: heads, and their keys and values as the kernels take them.

inline constexpr size_t kPanel = 16;      // keys, or channels of values, side by side
inline constexpr size_t kKeyBlock = 256;  // positions whose values are summed before they are added

static_assert(kPanel == kKvBlock, "blocks of a rounded cache decode to panels");

// The query heads that are taken together, `together` of them and all reading the same keys: their
// queries and results side by side, (T, together * dim), and the keys and values of the tokens from
// `first` on up to the last query's, (S - first, dim). What is rounded is in the cache.
struct Heads {
  MatrixView<const float> queries, keys, values;
  MatrixView<float> result;
  float scale, softcap;
  size_t window;  // keys that a query sees at most
  size_t together = 1, first = 0;
  const RoundedKv* rounded = nullptr;
  size_t kv = 0;  // which head of the keys

  size_t dim() const { return keys.cols(); }
  size_t tokens() const { return first + keys.rows(); }
  size_t past() const { return tokens() - queries.rows(); }
  // Queries one after the other, those of a token side by side.
  size_t rows() const { return queries.rows() * together; }
  size_t Position(size_t row) const { return past() + row / together; }
  const float* Query(size_t row) const {
    return queries.row(row / together) + row % together * dim();
  }
  float* Result(size_t row) const { return result.row(row / together) + row % together * dim(); }
  // Of the query at this position.
  size_t FirstKey(size_t position) const { return position < window ? 0 : position - window + 1; }
  // How many of the keys, or values, it sees rounded: the first ones.
  size_t KeysRounded(size_t position) const {
    return rounded == nullptr ? 0 : rounded->scheme().RoundedKeys(position + 1);
  }
  size_t ValuesRounded(size_t position) const {
    return rounded == nullptr ? 0 : rounded->scheme().RoundedValues(position + 1);
  }
};

// A (rows, cols) view of scratch that grows in steps, as a text grows token by token.
inline MatrixView<float> Grown(Matrix<float>& matrix, size_t rows, size_t cols) {
  constexpr size_t kStep = 1024;
  const size_t needed = rows * cols;
  if (matrix.rows() * matrix.cols() < needed) matrix = Matrix<float>(1, RoundUp(needed, kStep));
  return {matrix.data(), rows, cols};
}

// Rows [begin, end) of `cols` numbers each, as row(r) says, side by side, column by column, `width`
// to a panel: element (r, c) at panels[(r / width) * cols * width + c * width + r % width], panels
// counted from that of row `begin`. Of the first and the last one what is missing is 0.
template <typename Row>
void PackRows(size_t begin, size_t end, size_t cols, size_t width, const Row& row, float* panels) {
  for (size_t first = begin / width * width; first < end; first += width, panels += cols * width) {
    const size_t from = std::max(first, begin), to = std::min(first + width, end);
    if (to - from < width) std::fill_n(panels, cols * width, 0.0f);
    for (size_t r = from; r < to; ++r) {
      const float* const numbers = row(r);
      for (size_t c = 0; c < cols; ++c) panels[c * width + (r - first)] = numbers[c];
    }
  }
}

// A head's keys that are not rounded, sixteen to a panel; and such values in blocks of kKeyBlock
// positions, each as panels of sixteen channels. What is missing of the last channels is 0. Of a
// rounded cache, what the queries from `first_query` on see of them. They lie in `keys`
// and `values`, which are kept from call to call.
class PackedKeys {
 public:
  PackedKeys(const Heads& head, size_t first_query, Matrix<float>& keys, Matrix<float>& values)
      : dim_(head.dim()),
        panels_((dim_ + kPanel - 1) / kPanel),
        first_key_(std::max(head.first, SeenPlain(head, first_query, &Heads::KeysRounded))),
        first_value_(std::max(head.first, SeenPlain(head, first_query, &Heads::ValuesRounded))) {
    PackKeys(head, keys);
    PackValues(head, values);
  }

  const float* Panel(size_t key) const {
    return keys_ + (key - first_key_ / kPanel * kPanel) * dim_;
  }
  // From this key on, as far as its block goes.
  const float* Values(size_t key, size_t panel) const { return ValuesAt(key, panel); }
  size_t panels() const { return panels_; }  // of values

 private:
  // The first token that some query does not see rounded.
  static size_t SeenPlain(const Heads& head, size_t first_query,
                          size_t (Heads::*rounded)(size_t) const) {
    for (size_t p = head.past() + first_query; p < head.tokens(); ++p) {
      const size_t of_query = (head.*rounded)(p);
      if (of_query <= p) return of_query;
    }
    return head.tokens();
  }

  void PackKeys(const Heads& head, Matrix<float>& keys) {
    const size_t end = head.tokens(), base = first_key_ / kPanel * kPanel;
    keys_ = Grown(keys, RoundUp(end - base, kPanel), dim_).data();
    const auto key = [&](size_t s) { return head.keys.row(s - head.first); };
    PackRows(first_key_, end, dim_, kPanel, key, keys_);
  }

  void PackValues(const Heads& head, Matrix<float>& values) {
    const size_t end = head.tokens(), base = first_value_ / kKeyBlock * kKeyBlock;
    values_ = Grown(values, RoundUp(end - base, kKeyBlock), panels_ * kPanel).data();
    for (size_t s = first_value_; s < end; ++s) {
      for (size_t p = 0; p < panels_; ++p) {
        const size_t channels = std::min(kPanel, dim_ - p * kPanel);
        float* const to = ValuesAt(s, p);
        std::copy_n(head.values.row(s - head.first) + p * kPanel, channels, to);
        std::fill(to + channels, to + kPanel, 0.0f);
      }
    }
  }

  float* ValuesAt(size_t key, size_t panel) const {
    const size_t block = key / kKeyBlock - first_value_ / kKeyBlock, in_block = key % kKeyBlock;
    return values_ + ((block * panels_ + panel) * kKeyBlock + in_block) * kPanel;
  }

  size_t dim_, panels_, first_key_, first_value_;
  float *keys_, *values_;
};

}  // namespace quantref
