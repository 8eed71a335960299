#include "eval/text/overlap.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>

namespace quantref {
namespace {

uint64_t Mix(uint64_t x) {  // splitmix64's finisher
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// The character that begins at `at`, which moves behind it.
uint32_t NextCharacter(std::string_view text, size_t& at) {
  const auto lead = static_cast<unsigned char>(text[at++]);
  const int more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
  uint32_t character = more == 0 ? lead : lead & (0x3fu >> more);
  for (int i = 0; i < more && at < text.size(); ++i)
    character = character << 6 | (static_cast<unsigned char>(text[at++]) & 0x3f);
  return character;
}

// Unicode's White_Space.
bool IsWhite(uint32_t character) {
  return (character >= 0x09 && character <= 0x0d) || character == 0x20 || character == 0x85 ||
         character == 0xa0 || character == 0x1680 || (character >= 0x2000 && character <= 0x200a) ||
         character == 0x2028 || character == 0x2029 || character == 0x202f || character == 0x205f ||
         character == 0x3000;
}

// Nothing behind the last that is no white space.
std::optional<uint32_t> NextVisible(std::string_view text, size_t& at) {
  while (at < text.size()) {
    const uint32_t character = NextCharacter(text, at);
    if (!IsWhite(character)) return character;
  }
  return std::nullopt;
}

// Calls visit(hash, begin) of every run, where it begins in the text. Of 64 bits: chance does not
// make two of a million alike.
template <typename Visitor>
void ForEachRun(std::string_view text, const Visitor& visit) {
  constexpr uint64_t kBase = 0x9e3779b97f4a7c15ULL;
  uint64_t leaving = 1;  // the weight of a run's first character, once the next has come
  for (size_t i = 0; i < kOverlapRun; ++i) leaving *= kBase;
  struct Character {
    uint64_t hash;
    size_t begin;
  };
  std::array<Character, kOverlapRun> last{};  // a ring
  uint64_t hash = 0;
  size_t count = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const uint32_t character = NextCharacter(text, at);
    if (IsWhite(character)) continue;
    Character& oldest = last[count % kOverlapRun];
    const Character next{Mix(character + 1), begin};
    hash = hash * kBase + next.hash - leaving * oldest.hash;
    oldest = next;
    if (++count >= kOverlapRun) visit(Mix(hash), last[count % kOverlapRun].begin);
  }
}

// A set of hashes, by open addressing.
class HashSet {
 public:
  explicit HashSet(size_t most) : slots_(std::bit_ceil(2 * most + 2)) {}
  void Insert(uint64_t hash) { slots_[Find(hash)] = hash | 1; }
  bool Contains(uint64_t hash) const { return slots_[Find(hash)] != 0; }

 private:
  // Its slot, or the free one where it would be. 0 marks a free one; hence all hashes are odd.
  size_t Find(uint64_t hash) const {
    const size_t mask = slots_.size() - 1;  // they are a power of two
    size_t slot = (hash >> 1) & mask;
    while (slots_[slot] != 0 && slots_[slot] != (hash | 1)) slot = (slot + 1) & mask;
    return slot;
  }

  std::vector<uint64_t> slots_;
};

// Which ranges hold a place; places are asked for in the order of the text.
class RangeCursor {
 public:
  explicit RangeCursor(std::span<const TextRange> ranges) : ranges_(ranges) {}

  template <typename Visitor>  // visit(range)
  void ForEachAt(size_t place, const Visitor& visit) {
    while (first_ < ranges_.size() && ranges_[first_].end <= place) ++first_;
    for (size_t r = first_; r < ranges_.size() && ranges_[r].begin <= place; ++r) {
      if (place < ranges_[r].end) visit(r);
    }
  }

 private:
  std::span<const TextRange> ranges_;
  size_t first_ = 0;  // those before it are past
};

}  // namespace

bool SameButForSpace(std::string_view a, std::string_view b) {
  for (size_t at = 0, at_b = 0;;) {
    const std::optional<uint32_t> next = NextVisible(a, at);
    if (next != NextVisible(b, at_b)) return false;
    if (!next) return true;
  }
}

std::vector<Overlap> MeasureOverlap(const ReadText& test, const ReadText& calibration) {
  size_t bytes = 0;
  for (const TextRange& range : calibration.ranges) bytes += range.end - range.begin;
  HashSet seen(std::min(bytes, calibration.text.size()));
  RangeCursor samples(calibration.ranges);
  ForEachRun(calibration.text, [&](uint64_t hash, size_t begin) {
    samples.ForEachAt(begin, [&](size_t) { seen.Insert(hash); });
  });
  std::vector<Overlap> overlaps(test.ranges.size());
  RangeCursor windows(test.ranges);
  ForEachRun(test.text, [&](uint64_t hash, size_t begin) {
    windows.ForEachAt(begin, [&](size_t window) {
      ++overlaps[window].runs;
      overlaps[window].found += seen.Contains(hash);
    });
  });
  return overlaps;
}

}  // namespace quantref
