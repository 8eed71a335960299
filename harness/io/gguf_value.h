#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

namespace quantref {

// The types of values behind the keys of a GGUF file, by its numbers.
enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

// Of numbers, booleans or strings, where they lie in the file: checked, not aligned.
struct GgufArray {
  GgufType elements;
  size_t count;
  std::span<const std::byte> bytes;
};

// Strings and arrays live as long as the file.
using GgufValue = std::variant<uint64_t, int64_t, float, double, bool, std::string_view, GgufArray>;

}  // namespace quantref
