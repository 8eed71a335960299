#include "eval/record/change.h"

#include <algorithm>

namespace quantref {
namespace {

bool IsHexDigit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

}  // namespace

std::string ShortHash(const std::string& value) {
  const bool is_hash = (value.size() == 64 || value.size() == 40) &&
                       std::all_of(value.begin(), value.end(), IsHexDigit);
  return is_hash ? value.substr(0, 12) : value;
}

}  // namespace quantref
