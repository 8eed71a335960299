#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace quantref {

// Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909, algorithm 1): of the adjacent pairs
// that may merge the one of lowest rank does, the leftmost of equals, until none is left.

struct Merge {
  uint32_t rank = 0;
  uint32_t id = 0;  // of the symbol that the two become
};

class MergeTable {
 public:
  // False where the pair is there already.
  bool Add(uint32_t left, uint32_t right, Merge merge) {
    return merges_.emplace(Key(left, right), merge).second;
  }
  // nullptr: they do not merge.
  const Merge* Find(uint32_t left, uint32_t right) const {
    const auto found = merges_.find(Key(left, right));
    return found == merges_.end() ? nullptr : &found->second;
  }
  void Reserve(size_t merges) { merges_.reserve(merges); }
  size_t size() const { return merges_.size(); }

 private:
  static uint64_t Key(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }
  std::unordered_map<uint64_t, Merge> merges_;
};

struct Symbol {
  uint32_t id = 0;
  uint32_t bytes = 0;  // of text that it stands for
  bool operator==(const Symbol&) const = default;
};

// As it is written above: a pass for every merge.
void MergeByScan(const MergeTable& merges, std::vector<Symbol>& symbols);
// The same with a heap, n log n for n symbols.
void MergeByHeap(const MergeTable& merges, std::vector<Symbol>& symbols);

}  // namespace quantref
