#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace quantref {

// Incremental SHA-256.
class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;

  void Update(const void* data, size_t bytes);  // may be cancelled (cancel.h)
  std::string HexDigest();                      // 64 lower-case hex digits; ends the computation

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string Sha256Hex(const void* data, size_t bytes);
std::string Sha256Hex(std::string_view text);

// Of the elements' bytes in memory (little-endian on every supported machine).
template <typename T>
std::string Sha256Hex(std::span<const T> items) {
  return Sha256Hex(static_cast<const void*>(items.data()), items.size_bytes());
}

}  // namespace quantref
