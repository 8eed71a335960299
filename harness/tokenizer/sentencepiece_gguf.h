#pragma once

#include <filesystem>

#include "harness/tokenizer/gguf_vocabulary.h"

namespace quantref {

// What a GGUF file says of a SentencePiece model of byte pairs (tokenizer.model), as llama.cpp's
// converter has it: its pieces with scores and types. Throws Error where that would make other
// tokens of text: for unigram models, and for those that normalize text.
GgufVocabulary VocabularyOfSentencePiece(const std::filesystem::path& file);

}  // namespace quantref
