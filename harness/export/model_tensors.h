#pragma once

#include <functional>
#include <string>
#include <vector>

#include "harness/export/exported_cell.h"
#include "harness/io/safetensors_writer.h"

namespace quantref {

// The tensors that stand for a quantized matrix, whose weights a plain checkpoint has in
// NAME.weight; not its bias. The linear outlives what they write.
using TensorsOfMatrix =
    std::function<std::vector<TensorToWrite>(const Linear& linear, const std::string& name)>;

// All tensors of a checkpoint of the cell in transformers' names: quantized matrices as `quantized`
// has them, others, norms, biases and learned positions as the cell has them, in the narrowest of
// FP16, BF16 and FP32 that holds every number of a tensor (matrices in the type they are in), and
// as they are the parts of the model's own checkpoint that the text passes by.
std::vector<TensorToWrite> ModelTensors(const FinishedCell& cell, const TensorsOfMatrix& quantized);

// The matrices of the cell that are multiplied and not quantized, as the checkpoint names them:
// "lm_head" where it is tied, too.
std::vector<std::string> KeptMatrices(const FinishedCell& cell);

// Calls f(linear, name in the checkpoint) for every matrix that is quantized, a tied head apart.
void ForQuantized(const FinishedCell& cell,
                  const std::function<void(const Linear& linear, const std::string& name)>& f);

}  // namespace quantref
