#include "eval/table/natural_order.h"

#include <algorithm>

namespace quantref {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The digits from `at` on, without leading zeros; moves `at` behind them.
std::string Digits(const std::string& text, size_t& at) {
  const size_t start = at;
  while (at < text.size() && IsDigit(text[at])) ++at;
  const size_t first = std::min(text.find_first_not_of('0', start), at);
  return text.substr(first, at - first);
}

}  // namespace

bool NaturallyLess(const std::string& a, const std::string& b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (IsDigit(a[i]) && IsDigit(b[j])) {
      const std::string x = Digits(a, i), y = Digits(b, j);
      if (x != y) return x.size() != y.size() ? x.size() < y.size() : x < y;
    } else {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i;
      ++j;
    }
  }
  return a.size() - i != b.size() - j ? a.size() - i < b.size() - j : a < b;
}

}  // namespace quantref
