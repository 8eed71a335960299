#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/tokenizer.h"

namespace quantref {

// A perplexity protocol: how a text file becomes tokens, how the tokens are cut into windows, and
// which predictions count. Two results are comparable only under the same protocol on the same
// tokens.
struct Protocol {
  std::string name, summary;
  bool join_rows;  // the text's rows joined by "\n\n", as the GPTQ scripts read the data set; else
                   // the file as it is
  size_t window;   // tokens; 0 = the model's context
  bool shrink_window;    // a shorter context shortens the window; else it is an error
  bool bos_each_window;  // token 0 of each window is replaced by BOS; else BOS stands once, before
                         // the text
  bool sliding;  // stride = window / 2, every token scored once, the tail kept; else no overlap,
                 // the tail dropped
  bool second_half;  // only positions of the second half count
};

const std::vector<Protocol>& Protocols();
const Protocol& FindProtocol(const std::string& name);  // throws Error with the nearest name

// The tokens that a protocol makes of a text.
struct TokenStream {
  std::vector<uint32_t> ids;              // BOS first
  std::string sha256;                     // of the ids as little-endian uint32
  size_t text_bytes = 0, text_words = 0;  // of the file: words are separated by white space
};
TokenStream Tokenize(const Protocol& protocol, std::string_view text, const Tokenizer& tokenizer,
                     uint32_t bos_id);

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

}  // namespace quantref
