#pragma once

#include "harness/io/input_file.h"
#include "harness/tokenizer/tokenizer.h"
#include "harness/tokenizer/tokenizer_config.h"

namespace quantref {

// A tokenizer.json of Hugging Face's tokenizers whose model is BPE. Throws Error, with the path in
// the file, for what is not known in it or lies.
Tokenizer TokenizerOfJson(FileContents file, const TokenizerConfig& config);

}  // namespace quantref
