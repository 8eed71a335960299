#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace quantref {

// Numbers as bytes, for files that this program alone writes and reads: as they are in memory,
// which is little-endian on every supported machine.

template <typename T>
void Put(std::string& bytes, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

// Reads from the front; gives false, and reads nothing, where too little is left.
template <typename T>
bool Take(std::string_view& bytes, T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() < sizeof(T)) return false;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return true;
}

// A number of elements, and these. `List`: std::string, std::vector of numbers.
template <typename List>
void PutList(std::string& bytes, const List& list) {
  Put(bytes, uint64_t{list.size()});
  bytes.append(reinterpret_cast<const char*>(list.data()), list.size() * sizeof(list[0]));
}

template <typename List>
bool TakeList(std::string_view& bytes, List& list) {
  std::string_view rest = bytes;
  uint64_t count = 0;
  if (!Take(rest, count) || count > rest.size() / sizeof(list[0])) return false;
  list.resize(count);
  if (count > 0) std::memcpy(list.data(), rest.data(), count * sizeof(list[0]));
  bytes = rest.substr(count * sizeof(list[0]));
  return true;
}

}  // namespace quantref
