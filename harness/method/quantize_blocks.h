#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "harness/method/calibrate.h"
#include "harness/method/cell_at_work.h"

namespace quantref {

// Cells that read the same of one calibration text.
struct CellFamily {
  const CalibrationData& data;
  TextRead read;
  std::vector<std::unique_ptr<CellAtWork>> cells;
};

// QuantizeModels with calibration: the one block-sequential driver, of a model with these weights.
// `finish` gets each cell when its last layer is quantized.
void QuantizeBlocks(const ModelConfig& config, const ModelWeights& weights,
                    const CellFamily& family, size_t threads, const QuantizeCallbacks& callbacks,
                    SampleShare* share, QuantizeProgress& progress,
                    const std::function<void(CellAtWork&)>& finish);

}  // namespace quantref
