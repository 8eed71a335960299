#include "eval/protocol.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/nearest.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"

namespace quantref {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

size_t CountWords(std::string_view text) {
  size_t words = 0;
  bool in_word = false;
  for (char c : text) {
    if (!IsSpace(c) && !in_word) ++words;
    in_word = !IsSpace(c);
  }
  return words;
}

}  // namespace

const std::vector<Protocol>& Protocols() {
  static const std::vector<Protocol> protocols = {
      {.name = "gptq-2048",
       .summary = "rows joined by blank lines, BOS once, windows of 2048, no overlap, tail dropped "
                  "(GPTQ, AWQ papers)",
       .join_rows = true,
       .window = 2048,
       .shrink_window = true,
       .bos_each_window = false,
       .sliding = false,
       .second_half = false},
      {.name = "llamacpp-512",
       .summary = "raw file, chunks of 512 that begin with BOS, their second halves count "
                  "(llama.cpp's perplexity)",
       .join_rows = false,
       .window = 512,
       .shrink_window = false,
       .bos_each_window = true,
       .sliding = false,
       .second_half = true},
      {.name = "full-stride",
       .summary = "raw file, BOS once, windows of the model's context sliding by half, every token "
                  "counts once",
       .join_rows = false,
       .window = 0,
       .shrink_window = true,
       .bos_each_window = false,
       .sliding = true,
       .second_half = false},
  };
  return protocols;
}

const Protocol& FindProtocol(const std::string& name) {
  std::vector<std::string> names;
  for (const Protocol& protocol : Protocols()) {
    if (protocol.name == name) return protocol;
    names.push_back(protocol.name);
  }
  throw Error(fmt::format("unknown protocol '{}'{}", name, DidYouMean(name, names)),
              "accuracy.protocol");
}

std::string JoinRows(std::string_view text) {
  std::string joined;
  joined.reserve(text.size() + text.size() / 64);
  for (bool first = true; !text.empty(); first = false) {
    const size_t end = std::min(text.find('\n'), text.size() - 1);
    const std::string_view line = text.substr(0, end + 1);
    text.remove_prefix(end + 1);
    if (!first) joined += "\n\n";
    if (!std::all_of(line.begin(), line.end(), IsSpace)) joined += line;
  }
  return joined;
}

TokenStream Tokenize(const Protocol& protocol, std::string_view text, const Tokenizer& tokenizer,
                     uint32_t bos_id) {
  TokenStream stream;
  stream.ids = tokenizer.Encode(protocol.join_rows ? JoinRows(text) : std::string(text));
  stream.ids.insert(stream.ids.begin(), bos_id);
  stream.sha256 = Sha256Hex(std::span<const uint32_t>(stream.ids));
  stream.text_bytes = text.size();
  stream.text_words = CountWords(text);
  return stream;
}

namespace {

// The first window scores all but its first token; each later one the tokens that no window before
// it scored.
std::vector<Window> SlidingWindows(size_t tokens, size_t window) {
  std::vector<Window> windows = {{0, std::min(window, tokens), 1}};
  const size_t stride = window / 2;
  for (size_t seen = window; seen < tokens;) {
    const size_t begin = windows.back().begin + stride, length = std::min(window, tokens - begin);
    windows.push_back({begin, length, seen - begin});
    seen = begin + length;
  }
  return windows;
}

}  // namespace

std::vector<Window> MakeWindows(const Protocol& protocol, size_t tokens, size_t context) {
  if (protocol.window > context && !protocol.shrink_window) {
    throw Error(fmt::format("{} needs a context of {} tokens, the model has {}", protocol.name,
                            protocol.window, context),
                "accuracy.protocol");
  }
  const size_t window = protocol.window == 0 ? context : std::min(protocol.window, context);
  const size_t least = protocol.sliding ? 2 : window;
  if (window < 2 || tokens < least) {
    throw Error(fmt::format("expected at least {} tokens for one window of {}, found {}", least,
                            protocol.name, tokens),
                "accuracy.dataset",
                "take a longer text, or protocol full-stride, which takes any length");
  }
  if (protocol.sliding) return SlidingWindows(tokens, window);
  std::vector<Window> windows;
  const size_t first_scored = protocol.second_half ? window / 2 + 1 : 1;
  for (size_t begin = 0; begin + window <= tokens; begin += window)
    windows.push_back({begin, window, first_scored});
  return windows;
}

std::vector<uint32_t> WindowIds(const Protocol& protocol, const TokenStream& stream,
                                const Window& window) {
  QR_CHECK_LE(window.begin + window.length, stream.ids.size());
  const auto begin = stream.ids.begin() + static_cast<std::ptrdiff_t>(window.begin);
  std::vector<uint32_t> ids(begin, begin + static_cast<std::ptrdiff_t>(window.length));
  if (protocol.bos_each_window) ids[0] = stream.ids[0];
  return ids;
}

}  // namespace quantref
