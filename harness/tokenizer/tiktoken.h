#pragma once

#include <string_view>

#include "harness/io/input_file.h"
#include "harness/tokenizer/tokenizer.h"
#include "harness/tokenizer/tokenizer_config.h"

namespace quantref {

// Whether a file begins as tiktoken's do: lines of a token's bytes in base64 and its rank.
bool LooksLikeTiktoken(std::string_view contents);

// A vocabulary of OpenAI's tiktoken: the pair merges whose bytes together have the lowest rank. The
// file does not say how text is split: those that are known are told by their number of ranks.
// Error for others, and where a line is none or ranks are not 0, 1, 2 and on.
Tokenizer TiktokenTokenizer(FileContents file, const TokenizerConfig& config);

}  // namespace quantref
