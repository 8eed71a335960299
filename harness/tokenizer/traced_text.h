#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quantref {

// Bytes [begin, end) of a text.
struct Span {
  size_t begin = 0, end = 0;
  size_t size() const { return end - begin; }
};

// A text in UTF-8 that was made of another one, and where each of its bytes comes from there.
struct TracedText {
  std::string text;
  std::vector<uint32_t> origins;  // one a byte, rising; empty: byte i comes from first + i
  uint32_t first = 0;             // where the original begins

  uint32_t Origin(size_t byte) const {
    return origins.empty() ? first + static_cast<uint32_t>(byte) : origins[byte];
  }
  std::string_view At(Span span) const {
    return std::string_view(text).substr(span.begin, span.size());
  }
};

// Makes a TracedText from parts of another, in their order.
class TextTracer {
 public:
  explicit TextTracer(const TracedText& from) : from_(from) { made_.first = from.first; }

  void Keep(Span span);
  // Text that stands for bytes from there on.
  void Put(std::string_view text, size_t byte);
  size_t size() const { return made_.text.size(); }  // so far
  TracedText Take() && { return std::move(made_); }

 private:
  const TracedText& from_;
  TracedText made_;
};

// Each byte that belongs to no UTF-8 character becomes U+FFFD.
TracedText AsUtf8(std::string_view text);

// A character of valid UTF-8.
struct Character {
  uint32_t code = 0;
  uint32_t bytes = 0;
};
Character CharacterAt(std::string_view text, size_t byte);

// code: a Unicode scalar value.
std::string Utf8Of(uint32_t code);

}  // namespace quantref
