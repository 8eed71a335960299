#include "eval/inputs/cell_task.h"

namespace quantref {

QuantizeTask TaskOf(const GroupCell& cell) {
  const bool trains_weights = cell.training != nullptr && cell.spec->training != Training::kLora;
  return {.plan = cell.plan,
          .method = cell.method,
          .calibration = cell.calibration == nullptr ? nullptr : &cell.calibration->data,
          .products = cell.config->path.kernels && !trains_weights ? Products::kKernel
                                                                   : Products::kSimulated,
          .name = cell.label,
          .keep_starts = trains_weights};
}

}  // namespace quantref
