#pragma once

#include "harness/method/quantize_model.h"

namespace quantref {

// QuantizeModel with calibration: the one block-sequential driver. `result` holds the model's
// weights and gets the quantized ones; the plan's linears are the embedding, those of the blocks,
// and the head unless it is tied.
void QuantizeBlocks(const ModelConfig& config, const std::vector<PlannedLinear>& plan,
                    const Method& method, const CalibrationData& data,
                    const QuantizeOptions& options, bool tied, QuantizedModel& result);

}  // namespace quantref
