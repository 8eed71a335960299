#pragma once

#include <optional>
#include <string>

#include "harness/io/checkpoint.h"

namespace quantref {

// What the name of a GGUF model says of its matrices. Mixes hold others beside them, rows that a
// type cannot take fall back to another, and files are renamed: what is stored is told by the
// tensors alone.
struct GgufPromise {
  std::string name;  // "Q4_K_M", as it says
  std::string type;  // "Q4_K", of the matrices that it is named after
};

// By general.file_type (llama.cpp's numbers); nothing where it is missing, guessed or not known.
std::optional<GgufPromise> PromiseOfKey(const GgufFile& file);

// By the file's name: the type of ggml that stands in it as a word of its own, or with _S, _M, _L
// and the like behind it: "model-q4_k_m.gguf", "llama_q8_0.gguf", "Model.IQ4_XS.gguf".
std::optional<GgufPromise> PromiseOfName(const std::string& file_name);

}  // namespace quantref
