#include "harness/method/quantize_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/clock.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/base/sha256.h"
#include "harness/method/cell_at_work.h"
#include "harness/method/quantize_blocks.h"
#include "harness/method/reshape_model.h"
#include "harness/model/adapter.h"

namespace quantref {
namespace {

// Linears that need nothing of each other, in parallel.
std::vector<LayerReport> RoundAll(const QuantizeTask& task, size_t threads,
                                  const std::vector<Linear*>& linears, QuantizeProgress& progress) {
  std::vector<size_t> chosen;
  for (size_t i = 0; i < task.plan.size(); ++i) {
    if (task.plan[i].scheme) chosen.push_back(i);
  }
  const LinearContext looked_up{.keep_start = task.keep_starts},
      multiplied{.activations = DynamicFormat(task.method.activations),
                 .keep_start = task.keep_starts};
  std::vector<LayerReport> layers(chosen.size());
  std::mutex mutex;
  ParallelFor(chosen.size(), threads, [&](size_t i, size_t) {
    const bool is_embedding = chosen[i] == 0;
    layers[i] = RoundLinear(task.plan[chosen[i]], task.method,
                            is_embedding ? looked_up : multiplied, *linears[chosen[i]]);
    const std::lock_guard lock(mutex);
    progress.Add(1, layers[i].name);
  });
  return layers;
}

// Codes that are multiplied go into the kernels' layout, and must be what was rounded there. The
// embedding is looked up; where the head is the same matrix, both are one in either layout.
void TakeToKernels(size_t threads, bool tied, QuantizedModel& result) {
  ModelWeights& weights = result.weights;
  std::map<std::string, const LayerReport*> reports;
  for (const LayerReport& layer : result.layers) reports[layer.name] = &layer;
  const std::vector<Linear*> linears = AllLinears(weights);
  ParallelFor(linears.size(), threads, [&](size_t i, size_t) {
    Linear& linear = *linears[i];
    if (i > 0 || tied) linear.weight = linear.weight.WithKernels();
    const auto report = reports.find(linear.name);
    if (linear.weight.tiled() == nullptr || report == reports.end()) return;
    QR_CHECK_EQ(linear.weight.CodesSha256(), report->second->packed_sha256);
  });
  if (tied) weights.head.weight = weights.embedding.weight;
}

// What is left to do when the matrices are rounded.
void Complete(const QuantizeTask& task, size_t threads, bool tied, QuantizedModel& result) {
  const Clock::time_point start = Clock::now();
  if (tied) result.weights.head.weight = result.weights.embedding.weight;
  if (task.products == Products::kKernel) TakeToKernels(threads, tied, result);
  result.seconds.round += Since(start);
}

QuantizedModel QuantizeUncalibrated(const ModelWeights& weights, const QuantizeTask& task,
                                    size_t threads, QuantizeProgress& progress) {
  QR_CHECK(task.method.transforms.empty() && !task.method.Needs(task.plan).Any());
  QuantizedModel result{weights};
  const bool tied = HeadIsTied(weights);
  const Clock::time_point start = Clock::now();
  result.layers = RoundAll(task, threads, AllLinears(result.weights), progress);
  result.seconds.round = Since(start);
  if (tied && result.weights.embedding.weight.quantized())
    result.weights.head.activations = DynamicFormat(task.method.activations);
  Complete(task, threads, tied, result);
  return result;
}

// The tasks of these numbers that calibrate, by what they read.
std::vector<CellFamily> Families(const ModelConfig& config, const ModelWeights& weights,
                                 std::span<const QuantizeTask> tasks,
                                 std::span<const size_t> numbers, size_t threads) {
  std::vector<CellFamily> families;
  for (const size_t i : numbers) {
    if (tasks[i].calibration == nullptr) continue;
    const CalibrationData& data = *tasks[i].calibration;
    auto cell = std::make_unique<CellAtWork>(config, weights, tasks[i], i, threads);
    const TextRead read = ReadBy(data, cell->own_needs());
    const auto same = std::find_if(families.begin(), families.end(), [&](const CellFamily& f) {
      return &f.data == &data && f.read == read;
    });
    CellFamily& family =
        same != families.end() ? *same : families.emplace_back(CellFamily{data, read, {}});
    family.cells.push_back(std::move(cell));
  }
  return families;
}

// What progress the task will report.
size_t UnitsOf(const ModelConfig& config, const ModelWeights& weights, const QuantizeTask& task) {
  if (task.calibration == nullptr) {
    return static_cast<size_t>(
        std::count_if(task.plan.begin(), task.plan.end(),
                      [](const PlannedLinear& linear) { return linear.scheme.has_value(); }));
  }
  const CellAtWork cell(config, weights, task, 0, 1);
  return cell.Units(ReadBy(*task.calibration, cell.own_needs()).samples);
}

void CheckPlan(const ModelWeights& weights, const QuantizeTask& task) {
  const std::vector<const Linear*> linears = AllLinears(weights);
  QR_CHECK_EQ(task.plan.size(), linears.size());
  for (size_t i = 0; i < linears.size(); ++i)
    QR_CHECK_EQ(task.plan[i].shape.name, linears[i]->name);
  CheckSupports(task.method, task.plan,
                task.calibration == nullptr || task.calibration->sequential);
}

// The numbers of tasks whose methods make the same of the whole model.
std::vector<std::vector<size_t>> ReshapedAlike(std::span<const QuantizeTask> tasks) {
  std::vector<std::vector<size_t>> groups;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
      const QuantizeTask& other = tasks[group.front()];
      return ReshapeAlike(other.method, other.plan, tasks[i].method, tasks[i].plan);
    });
    same == groups.end() ? groups.push_back({i}) : same->push_back(i);
  }
  return groups;
}

// The tasks of these numbers, of one model.
void QuantizeGroup(const ModelConfig& config, const ModelWeights& weights,
                   std::span<const QuantizeTask> tasks, std::span<const size_t> numbers,
                   size_t threads, const QuantizeCallbacks& callbacks, SampleShare* share,
                   QuantizeProgress& progress) {
  const bool tied = HeadIsTied(weights);
  for (const size_t i : numbers) CheckPlan(weights, tasks[i]);
  for (const size_t i : numbers) {
    if (tasks[i].calibration != nullptr) continue;
    QuantizedModel made;
    if (callbacks.Try(std::span(&i, 1), share,
                      [&] { made = QuantizeUncalibrated(weights, tasks[i], threads, progress); }))
      callbacks.finished(i, std::move(made));
  }
  const auto finish = [&](CellAtWork& cell) {
    Complete(cell.task, threads, tied, cell.result);
    callbacks.finished(cell.number, std::move(cell.result));
  };
  const std::vector<CellFamily> families = Families(config, weights, tasks, numbers, threads);
  for (const CellFamily& family : families)
    QuantizeBlocks(config, weights, family, threads, callbacks, share, progress, finish);
}

// The same, of the model as their methods leave it.
void ReshapeAndQuantize(const ModelConfig& config, const ModelWeights& weights,
                        std::span<const QuantizeTask> tasks, std::span<const size_t> numbers,
                        size_t threads, const QuantizeCallbacks& callbacks, SampleShare* share,
                        QuantizeProgress& progress) {
  const QuantizeTask& any = tasks[numbers.front()];
  const Clock::time_point start = Clock::now();
  ReshapedModel model;
  progress.Add(0, "the whole model");
  if (!callbacks.Try(numbers, share,
                     [&] { model = ReshapeModel(config, weights, any.method, any.plan, threads); }))
    return;
  const double seconds = Since(start);
  QuantizeCallbacks own = callbacks;
  own.finished = [&](size_t task, QuantizedModel made) {
    made.seconds.transform += seconds;
    if (numbers.size() > 1) made.seconds.shared += seconds;
    callbacks.finished(task, std::move(made));
  };
  QuantizeGroup(model.config, model.weights, tasks, numbers, threads, own, share, progress);
}

}  // namespace

void QuantizeModels(const ModelConfig& config, const ModelWeights& weights,
                    std::span<const QuantizeTask> tasks, size_t threads,
                    const QuantizeCallbacks& callbacks, SampleShare* share) {
  QuantizeProgress progress(callbacks);
  for (const QuantizeTask& task : tasks) progress.Expect(UnitsOf(config, weights, task));
  for (const std::vector<size_t>& group : ReshapedAlike(tasks)) {
    const bool reshaped = !tasks[group.front()].method.model_transforms.empty();
    const auto quantize = reshaped ? ReshapeAndQuantize : QuantizeGroup;
    quantize(config, weights, tasks, group, threads, callbacks, share, progress);
  }
}

QuantizedModel QuantizeModel(const ModelConfig& config, const ModelWeights& weights,
                             const std::vector<PlannedLinear>& plan, const Method& method,
                             const CalibrationData* calibration, const QuantizeOptions& options) {
  QuantizedModel result;
  const QuantizeTask task{plan, method, calibration, options.products, {}, false};
  QuantizeModels(config, weights, std::span(&task, 1), options.threads,
                 {.progress = options.progress,
                  .finished = [&](size_t, QuantizedModel made) { result = std::move(made); },
                  .failed = {}});
  return result;
}

namespace {

constexpr size_t kHashedRows = 64;  // decoded at a time

bool HaveSameNumbers(const Weight& a, const Weight& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  Matrix<float> of_a(kHashedRows, a.cols()), of_b(kHashedRows, b.cols());
  for (size_t first = 0; first < a.rows(); first += kHashedRows) {
    ThrowIfCancelled();
    const size_t rows = std::min(kHashedRows, a.rows() - first), count = rows * a.cols();
    a.DecodeRows(first, of_a.view().Rows(0, rows));
    b.DecodeRows(first, of_b.view().Rows(0, rows));
    if (!std::equal(of_a.data(), of_a.data() + count, of_b.data())) return false;
  }
  return true;
}

// What a linear is made of beyond the checkpoint, or beyond the original's, unless nullptr.
std::string LinearHashes(const Linear& linear, const Linear* original) {
  std::string lines;
  const auto add = [&](const std::string& hash) { lines += linear.name + " " + hash + "\n"; };
  const auto add_values = [&](const Weight& weight) {
    Matrix<float> values(std::min(kHashedRows, weight.rows()), weight.cols());
    Sha256Stream stream;
    for (size_t first = 0; first < weight.rows(); first += kHashedRows) {
      const size_t rows = std::min(kHashedRows, weight.rows() - first);
      weight.DecodeRows(first, values.view().Rows(0, rows));
      stream.Update(values.data(), rows * weight.cols() * sizeof(float));
    }
    add(stream.HexDigest());
  };
  if (linear.weight.quantized()) add(linear.weight.CodesSha256());
  const bool is_other = !linear.weight.quantized() && original != nullptr &&
                        !HaveSameNumbers(linear.weight, original->weight);
  if (linear.weight.owned() || is_other) add_values(linear.weight);
  if (!linear.bias.empty()) add(Sha256Hex(std::span<const float>(linear.bias)));
  if (linear.activations) add(HashedActivations(*linear.activations));
  if (linear.outlier_weights.rows() > 0) add_values(linear.outlier_weights);
  if (linear.adapter != nullptr) {
    add_values(linear.adapter->down.weight);
    add_values(linear.adapter->up.weight);
    add(fmt::format("adapter times {}", linear.adapter->scale));
  }
  return lines;
}

}  // namespace

std::string HashQuantized(const ModelWeights& weights, const ModelWeights* original) {
  QR_CHECK(original == nullptr || original->blocks.size() == weights.blocks.size());
  const auto hashes = [&](const Linear& linear, const Linear ModelWeights::*place) {
    return LinearHashes(linear, original == nullptr ? nullptr : &(original->*place));
  };
  std::string lines = hashes(weights.embedding, &ModelWeights::embedding);
  for (size_t layer = 0; layer < weights.blocks.size(); ++layer) {
    const BlockWeights& block = weights.blocks[layer];
    for (const auto* vectors : {&block.norms, &block.norm_biases}) {
      for (const std::vector<float>& values : *vectors) {
        if (!values.empty()) lines += Sha256Hex(std::span<const float>(values)) + "\n";
      }
    }
    for (size_t i = 0; i < block.linears.size(); ++i) {
      lines += LinearHashes(block.linears[i],
                            original == nullptr ? nullptr : &original->blocks[layer].linears[i]);
    }
  }
  return Sha256Hex(lines + hashes(weights.head, &ModelWeights::head));
}

EffectiveBits MeasureBits(const ModelWeights& weights) {
  double block_bits = 0, block_count = 0, bits = 0, count = 0;
  for (const Linear* linear : AllLinears(weights)) {
    const double stored =
        static_cast<double>(linear->weight.StorageBits() + linear->outlier_weights.StorageBits() +
                            AdapterBits(*linear));
    const double size = static_cast<double>(linear->weight.rows() * linear->weight.cols());
    bits += stored;
    count += size;
    const bool in_block = linear != &weights.embedding && linear != &weights.head;
    if (!in_block && !linear->weight.quantized()) continue;
    block_bits += stored;
    block_count += size;
  }
  return {block_bits / block_count, bits / count};
}

}  // namespace quantref
