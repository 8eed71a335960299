#include "harness/tokenizer/byte_alphabet.h"

#include <array>

#include "harness/tokenizer/traced_text.h"

namespace quantref {
namespace {

constexpr int kNoByte = -1;
constexpr uint32_t kFirstOther = 0x100, kOthers = 68;

constexpr bool Prints(uint32_t byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

// The byte of each character.
constexpr std::array<int, kFirstOther + kOthers> kBytes = [] {
  std::array<int, kFirstOther + kOthers> bytes{};
  uint32_t other = kFirstOther;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    if (Prints(byte)) {
      bytes[byte] = static_cast<int>(byte);
    } else {
      bytes[byte] = kNoByte;
      bytes[other++] = static_cast<int>(byte);
    }
  }
  return bytes;
}();

}  // namespace

std::optional<std::string> BytesOfAlphabet(std::string_view text) {
  std::string bytes;
  for (size_t at = 0; at < text.size();) {
    const Character character = CharacterAt(text, at);
    if (character.code >= kBytes.size() || kBytes[character.code] == kNoByte) return std::nullopt;
    bytes += static_cast<char>(kBytes[character.code]);
    at += character.bytes;
  }
  return bytes;
}

}  // namespace quantref
