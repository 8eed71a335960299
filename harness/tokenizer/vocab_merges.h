#pragma once

#include "harness/io/input_file.h"
#include "harness/tokenizer/tokenizer.h"
#include "harness/tokenizer/tokenizer_config.h"

namespace quantref {

// vocab.json with merges.txt, as GPT-2, OPT and Qwen2 have them. How text is split is known of the
// class that tokenizer_config.json names; Error for others.
Tokenizer VocabMergesTokenizer(FileContents vocab, FileContents merges,
                               const TokenizerConfig& config);

}  // namespace quantref
