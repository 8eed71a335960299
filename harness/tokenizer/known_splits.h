#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/tokenizer/splitter.h"

namespace quantref {

// How vocabularies of bytes split text where their files do not say it but name it.
struct KnownSplit {
  std::vector<SplitStep> steps;
  bool takes_whole = false;  // a piece that is a token is not merged
  bool adds_bos = false;
};

// By GGUF's `tokenizer.ggml.pre`: the pre-tokenizer of the model that the name is of, which may
// differ from llama.cpp's own rewriting of it on rare text. Throws Error, at `where`, for others.
KnownSplit SplitOfGguf(std::string_view pre, const std::string& where);

// Of models and vocabularies: "gpt2", "llama3", "qwen2", "cl100k", "o200k".
std::vector<SplitStep> SplitOfVocabulary(std::string_view name);

// What Hugging Face's ByteLevel splits by: GPT-2's.
SplitStep GptSplit();

}  // namespace quantref
