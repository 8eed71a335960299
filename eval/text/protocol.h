#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/tokenizer/tokenizer.h"

namespace quantref {

// A perplexity protocol: how a text file becomes tokens, how the tokens are cut into windows, and
// which predictions count. Two results are comparable only under the same protocol on the same
// tokens.
struct Protocol {
  std::string name;  // with the window, where that is not the model's context: "gptq-2048"
  std::string family, summary;
  bool join_rows;  // the text's rows joined by "\n\n", as the GPTQ scripts read the data set; else
                   // the file as it is
  size_t window;   // tokens; 0 = the model's context
  bool shrink_window;    // a shorter context shortens the window; else it is an error
  bool bos_each_window;  // token 0 of each window is replaced by BOS, where texts begin with it
  bool sliding;  // stride = window / 2, every token scored once, the tail kept; else no overlap,
                 // the tail dropped
  bool second_half;  // only positions of the second half count
};

// One of each family, as it is without a word on its window.
const std::vector<Protocol>& Protocols();
// "gptq-N": how the names of a protocol's family look.
std::string NamePattern(const Protocol& protocol);

// By name, with any window: "gptq-4096". Only gptq-2048 may be cut to a shorter context. Throws
// Error with the nearest name.
Protocol FindProtocol(const std::string& name);

// The same on windows of so many tokens, with the name that says so.
Protocol WithWindow(const Protocol& protocol, size_t window);

// As a model of that context reads it: with its window, and of one that was cut the name that says
// so. Throws Error where the context is too short.
Protocol FitToContext(const Protocol& protocol, size_t context);

// Whether texts begin with BOS.
enum class BosRule { kTokenizer, kAlways, kNever };

// The tokens that a protocol makes of a text.
struct TokenStream {
  std::vector<uint32_t> ids;        // BOS first, where it is put
  std::optional<uint32_t> bos;      // nothing: none was put
  std::optional<uint32_t> unknown;  // what the tokenizer writes for text that it has no token for
  std::string sha256;               // of the ids as little-endian uint32
  std::string text;                 // that was tokenized: the file, or its rows joined
  // What lies before each token, and behind the last: bytes of `text`, and words (separated by
  // white space) that begin there. A word is its first token's.
  std::vector<uint32_t> bytes_before, words_before;
};
TokenStream Tokenize(const Protocol& protocol, std::string_view text, const Tokenizer& tokenizer,
                     std::optional<uint32_t> bos);

// The rows of a WikiText file joined by "\n\n": a row is a line with its "\n", or "" where the line
// is blank.
std::string JoinRows(std::string_view text);

// Tokens [begin, begin + length) of the stream; the predictions of the tokens at [first_scored,
// length) of the window count (token p is predicted by position p - 1).
struct Window {
  size_t begin = 0, length = 0, first_scored = 1;
  size_t scored() const { return length - first_scored; }
};

// Throws Error where the text is shorter than one window, or the model's context is.
std::vector<Window> MakeWindows(const Protocol& protocol, size_t tokens, size_t context);

// The ids that the model reads in that window.
std::vector<uint32_t> WindowIds(const Protocol& protocol, const TokenStream& stream,
                                const Window& window);

// The text that the scored tokens of these windows stand for.
struct ScoredText {
  double bytes = 0, words = 0;
};
ScoredText MeasureScoredText(const TokenStream& stream, std::span<const Window> windows);

// What a tokenizer could not spell in these windows: the share of their tokens, and of the bytes of
// their text; many characters may be one unknown token.
struct UnknownShare {
  double tokens = 0, bytes = 0;
  // So much of the text is lost that its figures are not the text's.
  bool TooMuch() const;
};
UnknownShare MeasureUnknown(const TokenStream& stream, std::span<const Window> windows);

}  // namespace quantref
