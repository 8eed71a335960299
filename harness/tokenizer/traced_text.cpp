#include "harness/tokenizer/traced_text.h"

#include <optional>

#include "harness/base/check.h"
#include "harness/io/utf8.h"

namespace quantref {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

}  // namespace

void TextTracer::Keep(Span span) {
  made_.text += from_.At(span);
  for (size_t byte = span.begin; byte < span.end; ++byte)
    made_.origins.push_back(from_.Origin(byte));
}

void TextTracer::Put(std::string_view text, size_t byte) {
  const uint32_t origin =
      byte < from_.text.size() || from_.origins.empty() ? from_.Origin(byte) : from_.origins.back();
  made_.text += text;
  made_.origins.insert(made_.origins.end(), text.size(), origin);
}

TracedText AsUtf8(std::string_view text) {
  if (!FindInvalidUtf8(text)) return {std::string(text), {}, 0};
  const TracedText given = {std::string(text), {}, 0};
  TextTracer tracer(given);
  for (size_t at = 0; at < text.size();) {
    const std::optional<size_t> invalid = FindInvalidUtf8(text.substr(at));
    const size_t end = invalid ? at + *invalid : text.size();
    tracer.Keep({at, end});
    if (invalid) tracer.Put(kReplacement, end);
    at = end + 1;
  }
  return std::move(tracer).Take();
}

Character CharacterAt(std::string_view text, size_t byte) {
  QR_DCHECK_LT(byte, text.size());
  const auto at = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<unsigned char>(text[byte + i]));
  };
  const uint32_t lead = at(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xe0) return {(lead & 0x1f) << 6 | (at(1) & 0x3f), 2};
  if (lead < 0xf0) return {(lead & 0x0f) << 12 | (at(1) & 0x3f) << 6 | (at(2) & 0x3f), 3};
  return {(lead & 0x07) << 18 | (at(1) & 0x3f) << 12 | (at(2) & 0x3f) << 6 | (at(3) & 0x3f), 4};
}

std::string Utf8Of(uint32_t code) {
  std::string text;
  const auto put = [&](uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
  return text;
}

}  // namespace quantref
