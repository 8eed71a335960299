#include "harness/method/cell_at_work.h"

#include <algorithm>

#include "harness/base/clock.h"

namespace quantref {
namespace {

DataNeeds WithStaticScales(DataNeeds needs, const Method& method) {
  needs.channel_max |= method.activations && !method.activations->dynamic;
  return needs;
}

// The report and static scales of activations read what rounders do.
DataNeeds WithReport(DataNeeds needs, const Method& method) {
  needs.kept = std::max(needs.kept, kReportTokens);
  return WithStaticScales(needs, method);
}

}  // namespace

CellAtWork::CellAtWork(const ModelConfig& config, const ModelWeights& weights,
                       const QuantizeTask& task_of, size_t number_of, size_t threads)
    : number(number_of),
      task(task_of),
      transform_needs(WithStaticScales(task.method.TransformNeeds(), task.method)),
      rounder_needs(WithReport(task.method.RounderNeeds(task.plan), task.method)),
      result{weights},
      config_(config),
      threads_(threads),
      tied_(HeadIsTied(weights)) {}

bool CellAtWork::HeadIsQuantized() const {
  return tied_ ? task.plan.front().scheme.has_value() : task.plan.back().scheme.has_value();
}

DataNeeds CellAtWork::HeadNeeds() const {
  return tied_ ? WithStaticScales({}, task.method) : rounder_needs;
}

size_t CellAtWork::Units(size_t samples) const {
  const bool true_sequential = rounder_needs.true_sequential;
  const size_t collecting = true_sequential ? kTaps + !task.method.transforms.empty() : size_t{1};
  const size_t passes = collecting + (task.calibration->sequential || true_sequential);
  size_t units = 0;
  for (size_t layer = 0; layer < config_.layers.size(); ++layer)
    units += samples * passes + LayoutOf(config_, layer).linears.size();
  return units;
}

void CellAtWork::Done(size_t units, QuantizeProgress& progress, std::string_view what) {
  done_ += units;
  progress.Add(units, what);
}

void CellAtWork::DoneAll(size_t samples, QuantizeProgress& progress) {
  const size_t units = Units(samples);
  if (done_ < units) Done(units - done_, progress, "the last layer");
}

CalibratedBlock CellAtWork::Planned(const BlockShape& shape, const BlockWeights& reference) const {
  CalibratedBlock block{shape, reference, {}, {}, task.method.activations, {}, {}};
  const BlockPlan plan = PlanOfBlock(config_, task.plan, shape.layer);
  for (const LinearRow& row : plan.layout.linears)
    block.schemes[row.index] = plan[row.index].scheme;
  return block;
}

bool CellAtWork::TransformsAlike(const CellAtWork& other, size_t block) const {
  return TransformAlike(task.method, PlanOfBlock(config_, task.plan, block), other.task.method,
                        PlanOfBlock(config_, other.task.plan, block));
}

void CellAtWork::RoundEmbedding() {
  if (task.plan.front().scheme)
    RoundAndReport(task.plan.front(), {.threads = threads_}, result.weights.embedding);
}

void CellAtWork::RoundReaders(Tap tap, const CalibratedBlock& block, BlockWeights& made,
                              QuantizeProgress& progress) {
  const BlockPlan plan = PlanOfBlock(config_, task.plan, block.shape.layer);
  const InputStatistics& inputs = block.input(tap);
  for (const LinearIndex reader : plan.layout.Readers(tap)) {
    Linear& linear = made.linears[reader];
    if (block.schemes[reader]) {
      RoundAndReport(plan[reader],
                     {.inputs = &inputs,
                      .limits = block.limits[reader].view(),
                      .activations = block.FormatFor(inputs.channel_max),
                      .note = block.notes[reader],
                      .threads = threads_,
                      .keep_start = task.keep_starts},
                     linear);
    }
    Done(1, progress, task.name.empty() ? linear.name : linear.name + " " + task.name);
  }
}

void CellAtWork::Take(const CalibratedBlock& block, const BlockWeights& reference,
                      BlockWeights made) {
  const BlockLayout layout = block.shape.layout();
  for (const LinearRow& row : layout.linears) {
    if (!block.schemes[row.index])
      StoreAsBefore(reference.linears[row.index], made.linears[row.index]);
  }
  result.weights.blocks[block.shape.layer] =
      task.products == Products::kKernel ? WithKernels(std::move(made)) : std::move(made);
}

void CellAtWork::RoundHead(const BlockShape& any, const InputStatistics& inputs) {
  const CalibratedBlock none{any, {}, {}, {}, task.method.activations, {}, {}};
  const std::optional<ActivationFormat> format = none.FormatFor(inputs.channel_max);
  if (tied_) {
    result.weights.head.activations = format;
    return;
  }
  RoundAndReport(task.plan.back(), {.inputs = &inputs, .activations = format, .threads = threads_},
                 result.weights.head);
}

void CellAtWork::RoundAndReport(const PlannedLinear& planned, const LinearContext& context,
                                Linear& linear) {
  const Clock::time_point start = Clock::now();
  result.layers.push_back(RoundLinear(planned, task.method, context, linear));
  result.seconds.round += result.layers.back().seconds;
  result.seconds.report += Since(start) - result.layers.back().seconds;
}

bool SameWeight(const Weight& a, const Weight& b) {
  if (a.SharesStorage(b)) return true;
  if (a.quantized() != b.quantized()) return false;
  if (a.quantized()) return a.CodesSha256() == b.CodesSha256();
  const Matrix<float> x = a.Decode(), y = b.Decode();
  return std::equal(x.data(), x.data() + x.rows() * x.cols(), y.data(),
                    y.data() + y.rows() * y.cols());
}

bool SameBlock(const BlockWeights& a, const BlockWeights& b) {
  if (a.norms != b.norms || a.norm_biases != b.norm_biases) return false;
  for (size_t i = 0; i < kLinears; ++i) {
    const Linear &x = a.linears[i], &y = b.linears[i];
    if (x.bias != y.bias || x.activations != y.activations || x.adapter != y.adapter) return false;
    if (!SameWeight(x.weight, y.weight) || !SameWeight(x.outlier_weights, y.outlier_weights))
      return false;
  }
  return true;
}

}  // namespace quantref
