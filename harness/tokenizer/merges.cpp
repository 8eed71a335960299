#include "harness/tokenizer/merges.h"

#include <functional>
#include <limits>
#include <queue>
#include <tuple>

namespace quantref {
namespace {

constexpr uint32_t kNowhere = std::numeric_limits<uint32_t>::max();

struct Candidate {
  uint32_t rank, place;  // of the left one
  uint32_t left, right, merged;
  bool operator>(const Candidate& other) const {
    return std::tie(rank, place) > std::tie(other.rank, other.place);
  }
};

// The symbols as a chain, by their first places.
class Chain {
 public:
  Chain(const MergeTable& merges, std::vector<Symbol>& symbols)
      : merges_(merges), symbols_(symbols), before_(symbols.size()), behind_(symbols.size()) {
    const auto size = static_cast<uint32_t>(symbols.size());
    for (uint32_t i = 0; i < size; ++i) {
      before_[i] = i == 0 ? kNowhere : i - 1;
      behind_[i] = i + 1 == size ? kNowhere : i + 1;
    }
    for (uint32_t i = 0; i + 1 < size; ++i) Consider(i);
  }

  void MergeAll() {
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      if (StillThere(best)) Join(best);
    }
    size_t kept = 0;
    for (const Symbol& symbol : symbols_) {
      if (symbol.bytes > 0) symbols_[kept++] = symbol;
    }
    symbols_.resize(kept);
  }

 private:
  void Consider(uint32_t place) {
    const uint32_t next = behind_[place];
    if (next == kNowhere) return;
    const uint32_t left = symbols_[place].id, right = symbols_[next].id;
    if (const Merge* merge = merges_.Find(left, right))
      heap_.push({merge->rank, place, left, right, merge->id});
  }

  bool StillThere(const Candidate& candidate) const {
    const Symbol& left = symbols_[candidate.place];
    const uint32_t next = behind_[candidate.place];
    return left.bytes > 0 && left.id == candidate.left && next != kNowhere &&
           symbols_[next].id == candidate.right;
  }

  void Join(const Candidate& candidate) {
    const uint32_t place = candidate.place, gone = behind_[place];
    symbols_[place] = {candidate.merged, symbols_[place].bytes + symbols_[gone].bytes};
    symbols_[gone].bytes = 0;
    behind_[place] = behind_[gone];
    if (behind_[place] != kNowhere) before_[behind_[place]] = place;
    if (before_[place] != kNowhere) Consider(before_[place]);
    Consider(place);
  }

  const MergeTable& merges_;
  std::vector<Symbol>& symbols_;
  std::vector<uint32_t> before_, behind_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap_;
};

}  // namespace

void MergeByScan(const MergeTable& merges, std::vector<Symbol>& symbols) {
  while (true) {
    const Merge* best = nullptr;
    size_t place = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Merge* merge = merges.Find(symbols[i].id, symbols[i + 1].id);
      if (merge == nullptr || (best != nullptr && merge->rank >= best->rank)) continue;
      best = merge;
      place = i;
    }
    if (best == nullptr) return;
    symbols[place] = {best->id, symbols[place].bytes + symbols[place + 1].bytes};
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

void MergeByHeap(const MergeTable& merges, std::vector<Symbol>& symbols) {
  Chain(merges, symbols).MergeAll();
}

}  // namespace quantref
