#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "harness/model/weights.h"
#include "harness/testing/gguf_builder.h"
#include "harness/testing/tiny_model.h"

namespace quantref::testing {

// The tiny model as llama.cpp's converter writes it: the same numbers under GGUF's names, the rows
// of q and k in its order. Of other types than F32, F16 and BF16 the matrices are random blocks
// (Q8_0, Q4_1) in their place, whose scales are small; norms and biases stay.
GgufBuilder TinyGguf(const TinyModel& model);
GgufBuilder TinyGguf(const TinyModel& model, const FileTensors& tensors);
GgufBuilder TinyGgufOfBlocks(const TinyModel& model, uint32_t type, uint64_t seed);

struct LoadedModel {
  ModelConfig config;
  ModelWeights weights;
};
LoadedModel LoadGguf(const GgufBuilder& builder, WeightType type = WeightType::kNative);

bool SameNumbers(const Weight& a, const Weight& b);

// A tensor of q or k with so many heads as the converter stores it for architecture llama: rows of
// each head go from (half, i) to (i, half).
std::string InFileOrder(const FileTensor& tensor, size_t heads);
// ggml's number of a type of safetensors: F32, F16 or BF16.
uint32_t GgmlNumber(const std::string& dtype);

// Keys tokenizer.ggml.* of a SentencePiece vocabulary like WriteLetterTokenizer's; texts begin with
// its BOS, 1.
void AddLetterTokenizer(GgufBuilder& builder);

}  // namespace quantref::testing
