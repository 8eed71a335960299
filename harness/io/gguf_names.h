#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/gguf.h"

namespace quantref {

// A tensor's name in transformers' checkpoints: "blk.3.attn_q.weight" is
// "model.layers.3.self_attn.q_proj.weight". A name that the architecture (general.architecture) has
// not is kept.
std::string TransformersName(std::string_view architecture, std::string_view name);

// The way back: of a name that some tensor of the architecture has. Error for any other.
std::string GgufName(std::string_view architecture, std::string_view name);

// The tensors of the file under the names that transformers' checkpoints of the model have, and
// with what llama.cpp's converter did to them: rows of q and k of architecture llama in another
// order, Gemma's norms plus 1. Without those that hold rotary factors, which belong to the config.
// `keys`: the file that has the model's keys, the first part of a split model. Error where these
// do not fit the tensors.
std::vector<Tensor> AsTransformers(const GgufFile& keys, const GgufFile& file);

}  // namespace quantref
