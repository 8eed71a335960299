#include "eval/support/nearest.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace quantref {
namespace {

// Nobody means a name by something this long; the bound keeps the table of distances small whatever
// a file contains.
constexpr size_t kLongestName = 200;
constexpr size_t kShortestPrefix = 3;

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

bool ShareStart(std::string_view a, std::string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  return a.size() >= kShortestPrefix && b.starts_with(a);
}

}  // namespace

size_t EditDistance(std::string_view a, std::string_view b) {
  // Rows i - 2, i - 1 and i of the table whose entry (i, j) is the distance between the first i
  // bytes of a and the first j bytes of b.
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, above);
    std::swap(above, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, substituted});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

std::string NearestName(std::string_view name, std::span<const std::string> valid) {
  if (name.empty() || name.size() > kLongestName) return {};
  const std::string wanted = LowerCase(name);
  const std::string* nearest = nullptr;
  size_t nearest_distance = 0;
  for (const std::string& candidate : valid) {
    if (candidate.size() > kLongestName) continue;
    const std::string lower = LowerCase(candidate);
    const size_t distance = EditDistance(wanted, lower);
    const size_t limit = std::max(wanted.size(), lower.size()) / 3;
    if (distance > limit && !ShareStart(wanted, lower)) continue;
    if (nearest == nullptr || distance < nearest_distance) {
      nearest = &candidate;
      nearest_distance = distance;
    }
  }
  return nearest == nullptr ? std::string() : *nearest;
}

std::string DidYouMean(std::string_view name, std::span<const std::string> valid) {
  if (valid.empty()) return {};
  if (const std::string nearest = NearestName(name, valid); !nearest.empty()) {
    return " (did you mean '" + nearest + "'?)";
  }
  std::string list;
  for (const std::string& candidate : valid) list += (list.empty() ? "" : ", ") + candidate;
  return " (valid: " + list + ")";
}

}  // namespace quantref
