#include "eval/text/protocol.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "eval/support/nearest.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"

namespace quantref {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Of windows that are named: from 2 tokens (of which one counts) to more than any model reads.
constexpr size_t kMostTokens = size_t{1} << 24;

constexpr double kMostUnknown = 0.01;

size_t LeastWindow(const Protocol& protocol) { return protocol.second_half ? 4 : 2; }

// The N of "<family>-N"; nothing where the name is another or N is none.
std::optional<size_t> NamedWindow(const Protocol& protocol, std::string_view name) {
  const std::string prefix = protocol.family + "-";
  if (!name.starts_with(prefix)) return std::nullopt;
  const std::string_view digits = name.substr(prefix.size());
  size_t window = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), window);
  const bool plain = error == std::errc() && end == digits.data() + digits.size();
  if (!plain || digits.front() == '0') return std::nullopt;
  return window;
}

}  // namespace

const std::vector<Protocol>& Protocols() {
  static const std::vector<Protocol> protocols = {
      {.name = "gptq-2048",
       .family = "gptq",
       .summary = "rows joined by blank lines, BOS once, windows of N, no overlap, tail dropped "
                  "(GPTQ, AWQ papers); gptq-2048 is cut to a shorter context",
       .join_rows = true,
       .window = 2048,
       .shrink_window = true,
       .bos_each_window = false,
       .sliding = false,
       .second_half = false},
      {.name = "llamacpp-512",
       .family = "llamacpp",
       .summary = "raw file, chunks of N that begin with BOS, their second halves count "
                  "(llama.cpp's perplexity)",
       .join_rows = false,
       .window = 512,
       .shrink_window = false,
       .bos_each_window = true,
       .sliding = false,
       .second_half = true},
      {.name = "full-stride",
       .family = "full-stride",
       .summary =
           "raw file, BOS once, windows of the model's context (or N) sliding by half, every "
           "token counts once",
       .join_rows = false,
       .window = 0,
       .shrink_window = true,
       .bos_each_window = false,
       .sliding = true,
       .second_half = false},
  };
  return protocols;
}

std::string NamePattern(const Protocol& protocol) {
  return protocol.window == 0 ? fmt::format("{}, {}-N", protocol.name, protocol.family)
                              : protocol.family + "-N";
}

Protocol FindProtocol(const std::string& name) {
  std::vector<std::string> names;
  for (const Protocol& protocol : Protocols()) {
    if (protocol.name == name) return protocol;
    if (const auto window = NamedWindow(protocol, name)) return WithWindow(protocol, *window);
    names.push_back(protocol.name);
  }
  throw Error(fmt::format("unknown protocol '{}'{}", name, DidYouMean(name, names)),
              "accuracy.protocol", "gptq-N, llamacpp-N and full-stride-N have windows of N tokens");
}

Protocol WithWindow(const Protocol& protocol, size_t window) {
  if (window < LeastWindow(protocol) || window > kMostTokens) {
    throw Error(fmt::format("expected windows of {} to {} tokens for {}, found {}",
                            LeastWindow(protocol), kMostTokens, protocol.family, window),
                "accuracy.window");
  }
  Protocol other = protocol;
  other.name = fmt::format("{}-{}", protocol.family, window);
  other.window = window;
  other.shrink_window = false;
  return other;
}

Protocol FitToContext(const Protocol& protocol, size_t context) {
  if (protocol.window > context && !protocol.shrink_window) {
    throw Error(fmt::format("{} needs a context of {} tokens, the model has {}", protocol.name,
                            protocol.window, context),
                "accuracy.protocol",
                fmt::format("accuracy.window: {} reads windows that it has", context));
  }
  Protocol fitted = protocol;
  if (protocol.window == 0) fitted.window = context;
  if (protocol.window > context) fitted = WithWindow(protocol, context);
  return fitted;
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

namespace {

// How many words begin up to each of these places, which rise.
std::vector<uint32_t> WordsBefore(std::string_view text, std::span<const uint32_t> places) {
  std::vector<uint32_t> before;
  before.reserve(places.size());
  uint32_t words = 0;
  bool in_word = false;
  size_t at = 0;
  for (const uint32_t place : places) {
    for (; at < place; ++at) {
      if (!IsSpace(text[at]) && !in_word) ++words;
      in_word = !IsSpace(text[at]);
    }
    before.push_back(words);
  }
  return before;
}

}  // namespace

TokenStream Tokenize(const Protocol& protocol, std::string_view text, const Tokenizer& tokenizer,
                     std::optional<uint32_t> bos) {
  TokenStream stream;
  stream.bos = bos;
  stream.unknown = tokenizer.unknown_id();
  stream.text = protocol.join_rows ? JoinRows(text) : std::string(text);
  Tokenizer::Placed placed = tokenizer.EncodePlaced(stream.text);
  stream.ids = std::move(placed.ids);
  stream.bytes_before = std::move(placed.begins);
  if (bos) {
    stream.ids.insert(stream.ids.begin(), *bos);
    stream.bytes_before.insert(stream.bytes_before.begin(), 0);
  }
  stream.bytes_before.push_back(static_cast<uint32_t>(stream.text.size()));
  stream.words_before = WordsBefore(stream.text, stream.bytes_before);
  stream.sha256 = Sha256Hex(std::span<const uint32_t>(stream.ids));
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
  const size_t window = FitToContext(protocol, context).window;
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
  if (protocol.bos_each_window && stream.bos) ids[0] = *stream.bos;
  return ids;
}

ScoredText MeasureScoredText(const TokenStream& stream, std::span<const Window> windows) {
  ScoredText text;
  for (const Window& window : windows) {
    const size_t first = window.begin + window.first_scored, end = window.begin + window.length;
    text.bytes += static_cast<double>(stream.bytes_before[end] - stream.bytes_before[first]);
    text.words += static_cast<double>(stream.words_before[end] - stream.words_before[first]);
  }
  return text;
}

bool UnknownShare::TooMuch() const { return std::max(tokens, bytes) > kMostUnknown; }

UnknownShare MeasureUnknown(const TokenStream& stream, std::span<const Window> windows) {
  double tokens = 0, bytes = 0, unknown_tokens = 0, unknown_bytes = 0;
  for (const Window& window : windows) {
    const size_t end = window.begin + window.length;
    tokens += static_cast<double>(window.length);
    bytes += static_cast<double>(stream.bytes_before[end] - stream.bytes_before[window.begin]);
    for (size_t t = window.begin; t < end; ++t) {
      if (stream.ids[t] != stream.unknown) continue;
      ++unknown_tokens;
      unknown_bytes += static_cast<double>(stream.bytes_before[t + 1] - stream.bytes_before[t]);
    }
  }
  return {tokens > 0 ? unknown_tokens / tokens : 0, bytes > 0 ? unknown_bytes / bytes : 0};
}

}  // namespace quantref
