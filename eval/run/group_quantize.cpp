#include "eval/run/group_quantize.h"

#include <fmt/format.h>

#include "eval/support/interrupt.h"
#include "eval/support/progress_bar.h"
#include "harness/base/cancel.h"
#include "harness/base/clock.h"

namespace quantref {
namespace {

const char* QuantizingNote(bool resumed) {
  return resumed ? "quantizing is not kept; windows of the run before still are, for --resume"
                 : "nothing of this is kept: no window is measured yet";
}

void Quantize(const GroupContext& group, GroupCell& cell) {
  cell.quantized.weights = group.model->weights;
  if (cell.spec == nullptr) return;
  const Clock::time_point start = Clock::now();
  ProgressBar bar(fmt::format("quantizing {} {}", cell.config->name, cell.label),
                  group.options.quiet, group.eta, RunEta::Kind::kQuantize);
  QuantizeOptions quantize;
  quantize.threads = group.threads;
  const bool kernels = cell.config->path.kernels;
  quantize.products = kernels ? Products::kKernel : Products::kSimulated;
  quantize.progress = [&](size_t done, size_t total, std::string_view what) {
    ThrowIfCancelled();
    group.CheckInputs();
    bar.Update(done, total, what);
  };
  cell.quantized =
      QuantizeModel(group.model->config, group.model->weights, cell.plan, cell.method,
                    cell.calibration == nullptr ? nullptr : &cell.calibration->data, quantize);
  cell.quantize_seconds = Since(start);
  if (kernels) cell.path = PathOf(cell.quantized.weights);
}

}  // namespace

void QuantizeCells(GroupContext& group, Pass& cells) {
  const InterruptNote note(QuantizingNote(group.options.resume));
  size_t rows = 1;  // behind the reference's
  for (auto cell = cells.begin(); cell != cells.end();) {
    try {
      Quantize(group, *cell);
      cell->weights_sha256 = HashQuantized(cell->quantized.weights);
      if (cell->spec != nullptr) cell->model = rows++;
      ++cell;
    } catch (const Error& error) {
      group.Tolerate(*cell->config, error, cell->label);
      cell = cells.erase(cell);
    }
  }
}

}  // namespace quantref
