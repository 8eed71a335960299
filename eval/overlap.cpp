#include "eval/overlap.h"

#include <cstdint>
#include <unordered_set>
#include <vector>

namespace quantref {
namespace {

uint64_t Mix(uint64_t x) {  // splitmix64's finisher
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// A hash of each word (FNV-1a, mixed).
std::vector<uint64_t> HashWords(std::string_view text) {
  std::vector<uint64_t> hashes;
  constexpr std::string_view kSpace = " \t\n\r\v\f";
  for (size_t at = text.find_first_not_of(kSpace); at != text.npos;) {
    const size_t end = std::min(text.find_first_of(kSpace, at), text.size());
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : text.substr(at, end - at)) {
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    }
    hashes.push_back(Mix(hash));
    at = text.find_first_not_of(kSpace, end);
  }
  return hashes;
}

// The hash of every run, in the order of the text. Of 64 bits: chance does not make two of a
// million alike.
std::vector<uint64_t> HashRuns(std::string_view text) {
  const std::vector<uint64_t> words = HashWords(text);
  std::vector<uint64_t> runs;
  for (size_t first = 0; first + kOverlapWords <= words.size(); ++first) {
    uint64_t hash = 0;
    for (size_t i = 0; i < kOverlapWords; ++i) hash = Mix(hash + words[first + i]);
    runs.push_back(hash);
  }
  return runs;
}

}  // namespace

double OverlapShare(std::string_view test, std::span<const std::string> calibration) {
  std::unordered_set<uint64_t> seen;
  for (const std::string& text : calibration) {
    const std::vector<uint64_t> runs = HashRuns(text);
    seen.insert(runs.begin(), runs.end());
  }
  const std::vector<uint64_t> runs = HashRuns(test);
  if (runs.empty()) return 0;
  size_t found = 0;
  for (const uint64_t run : runs) found += seen.contains(run);
  return static_cast<double>(found) / static_cast<double>(runs.size());
}

}  // namespace quantref
