#include "eval/candidate/candidate_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "eval/support/text_table.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

constexpr size_t kShownBytes = 40;

// The text from there on, as one line.
std::string TextFrom(const std::string& text, size_t byte) {
  std::string shown = Printable(text.substr(byte, kShownBytes));
  std::string line;
  for (const char c : shown) line += c == '\n' ? std::string("\\n") : std::string(1, c);
  return line;
}

std::string IdAt(const TokenStream& stream, size_t token) {
  if (token >= stream.ids.size()) return "none, its text has ended";
  return fmt::format("{} ({} bytes)", stream.ids[token],
                     stream.bytes_before[token + 1] - stream.bytes_before[token]);
}

[[noreturn]] void FailAt(const TokenStream& expected, const TokenStream& own, size_t token,
                         const Model& model) {
  const TokenStream& longer = token < expected.ids.size() ? expected : own;
  const size_t byte = longer.bytes_before[token];
  throw Error(
      fmt::format("its tokenizer is another: of {} tokens the first that differs is {}, at byte {} "
                  "of the text, \"{}\": expected the reference's id {}, found {}",
                  expected.ids.size(), token, byte, TextFrom(longer.text, byte),
                  IdAt(expected, token), IdAt(own, token)),
      model.dir.string(), "perplexities compare on the same tokens alone");
}

}  // namespace

void CheckSameTokens(const TokenStream& expected, const Protocol& protocol, std::string_view text,
                     const Model& model) {
  if (expected.bos && model.bos_id && *expected.bos != *model.bos_id) {
    throw Error(
        fmt::format("expected the reference's BOS {}, found {}", *expected.bos, *model.bos_id),
        model.dir.string(), "perplexities compare on the same tokens alone");
  }
  const TokenStream own = Tokenize(protocol, text, model.tokenizer, expected.bos);
  const auto [a, b] =
      std::mismatch(expected.ids.begin(), expected.ids.end(), own.ids.begin(), own.ids.end());
  if (a == expected.ids.end() && b == own.ids.end()) return;
  FailAt(expected, own, static_cast<size_t>(a - expected.ids.begin()), model);
}

}  // namespace quantref
