#pragma once

#include "harness/io/input_file.h"
#include "harness/tokenizer/tokenizer.h"
#include "harness/tokenizer/tokenizer_config.h"

namespace quantref {

// A SentencePiece model (Kudo & Richardson 2018, arXiv:1808.06226), by its own library. Error
// unless the file is one.
Tokenizer SentencePieceTokenizer(FileContents file, const TokenizerConfig& config);

}  // namespace quantref
