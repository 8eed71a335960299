#include "eval/run/group_train.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eval/run/training_checkpoint.h"
#include "eval/support/progress_bar.h"
#include "harness/base/clock.h"
#include "harness/base/copy_matrix.h"
#include "harness/base/error.h"
#include "harness/base/team.h"
#include "harness/model/adapter.h"
#include "harness/train/trainer.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

// What training begins with: of matrices that were rounded what stood before, as far as that gives
// their codes.
ModelWeights StartOf(const QuantizedModel& made) {
  std::map<std::string, const Matrix<float>*> starts;
  for (const LayerReport& layer : made.layers) starts[layer.name] = layer.start.get();
  ModelWeights weights = made.weights;
  for (Linear* linear : AllLinears(weights)) {
    const auto start = starts.find(linear->name);
    if (start != starts.end()) linear->weight = Weight(CopyOf(*start->second));
  }
  return weights;
}

// The windows of a step, one behind the other.
std::vector<uint32_t> BatchOf(const CalibrationSet& text, size_t step, size_t windows) {
  std::vector<uint32_t> ids;
  for (size_t w = step * windows; w < (step + 1) * windows; ++w)
    ids.insert(ids.end(), text.data.samples[w].begin(), text.data.samples[w].end());
  return ids;
}

std::vector<double> TakeSteps(const GroupContext& group, const GroupCell& cell,
                              const TrainSpec& spec, Trainer& trainer,
                              const std::function<void(size_t step)>& kept) {
  TrainingCheckpoint checkpoint(group, cell);
  const size_t every = cell.config->finetune.checkpoint;
  std::vector<double> losses;
  if (cell.goes_on && !checkpoint.Take(trainer, losses)) {
    throw Error("the checkpoint is not of this training", checkpoint.file().string(),
                "remove it to train from the beginning");
  }
  ProgressBar bar(fmt::format("training {} {}", cell.config->name, cell.label), group.options.quiet,
                  group.eta, RunEta::Kind::kTrain);
  for (size_t step = trainer.steps_done(); step < spec.steps; ++step) {
    losses.push_back(trainer.Step(BatchOf(*cell.training, step, spec.batch)));
    group.CheckInputs();
    bar.Update(step + 1, spec.steps, fmt::format("loss {:.4f}", losses.back()));
    const bool due = every > 0 && (step + 1) % every == 0 && step + 1 < spec.steps;
    if (due && checkpoint.Keep(trainer, losses)) kept(step + 1);
  }
  return losses;
}

// Codes that training has chosen, by the names of matrices.
class TrainedCodes : public Rounder {
 public:
  explicit TrainedCodes(std::map<std::string, PackedMatrix> codes) : codes_(std::move(codes)) {}

  std::string_view name() const override { return kQatMethod; }
  std::string_view summary() const override { return "codes by scales that were learned"; }
  Rounded Round(const RoundInput& input) const override {
    return {.packed = codes_.at(std::string(input.name)), .note = "learned scales"};
  }

 private:
  const std::map<std::string, PackedMatrix> codes_;
};

// What the trained weights were rounded to, whoever made the codes at the start.
QuantizedModel RoundTrained(const GroupContext& group, const GroupCell& cell,
                            const ModelWeights& weights, std::vector<PlannedLinear> plan,
                            const Rounder& rounder) {
  for (PlannedLinear& linear : plan) linear.method.clear();
  const Method method{.transforms = {}, .rounder = &rounder, .other_rounders = {}};
  QuantizedModel made = QuantizeModel(
      group.model->config, weights, plan, method, nullptr,
      {.threads = group.threads,
       .products = cell.config->path.kernels ? Products::kKernel : Products::kSimulated});
  for (LayerReport& layer : made.layers) layer.method = SuffixOf(cell.spec->training);
  return made;
}

// The matrices that have an adapter, the others kept.
std::vector<PlannedLinear> OnlyAdapted(const LoraSpec& lora, std::vector<PlannedLinear> plan) {
  for (PlannedLinear& linear : plan)
    if (!HasAdapter(lora, linear)) linear.scheme.reset();
  return plan;
}

void ReplaceReports(const std::vector<LayerReport>& by, std::vector<LayerReport>& layers) {
  for (const LayerReport& report : by) {
    const auto old = std::ranges::find(layers, report.name, &LayerReport::name);
    if (old != layers.end()) *old = report;
  }
}

// The method's model with the trained adapters: `weights` has them, kept apart or merged.
QuantizedModel FinishLora(const GroupContext& group, const GroupCell& cell, QuantizedModel made,
                          ModelWeights weights) {
  const LoraSpec& lora = cell.spec->lora;
  if (lora.merge == LoraMerge::kRound) {
    QuantizedModel rounded =
        RoundTrained(group, cell, weights, OnlyAdapted(lora, cell.plan), ToNearest());
    made.weights = std::move(rounded.weights);
    made.seconds.round += rounded.seconds.round;
    ReplaceReports(rounded.layers, made.layers);
    return made;
  }
  made.weights = std::move(weights);
  std::map<std::string, const Linear*> linears;
  for (const Linear* linear : AllLinears(std::as_const(made.weights)))
    linears[linear->name] = linear;
  std::erase_if(made.layers, [&](const LayerReport& layer) {
    return !linears.at(layer.name)->weight.quantized();
  });
  for (LayerReport& layer : made.layers) {
    const Linear& linear = *linears.at(layer.name);
    if (linear.adapter == nullptr) continue;
    layer.effective_bits += static_cast<double>(AdapterBits(linear)) /
                            static_cast<double>(linear.weight.rows() * linear.weight.cols());
    layer.note += fmt::format("{}an adapter of rank {} beside it", layer.note.empty() ? "" : ", ",
                              linear.adapter->rank());
  }
  return made;
}

}  // namespace

TrainSpec TrainingOf(const GroupCell& cell) {
  TrainSpec spec = cell.spec->TrainedBy(cell.config->finetune);
  spec.length = cell.training->length;
  return spec;
}

bool BeginsQuantized(const GroupCell& cell) {
  if (cell.spec->training == Training::kLora) return true;
  if (cell.spec->training == Training::kFull || cell.goes_on) return false;
  const auto other = [](const PlannedLinear& linear) {
    return !linear.method.empty() && linear.method != ToNearest().name();
  };
  return !cell.method.transforms.empty() || cell.method.rounder != &ToNearest() ||
         std::any_of(cell.plan.begin(), cell.plan.end(), other);
}

void CheckTrains(const GroupContext& group, const GroupCell& cell) {
  CheckTrainable(group.model->config);
  CheckTrainedPlan(cell.plan);
  constexpr size_t kMostTrainingWindows = size_t{1} << 20;  // all are drawn before the first step
  const TrainSpec& spec = cell.config->finetune.train;
  if (spec.steps * spec.batch > kMostTrainingWindows) {
    throw Error(fmt::format("expected up to {} windows of training, found {} steps of {}",
                            kMostTrainingWindows, spec.steps, spec.batch),
                cell.label, "lower finetune.steps or finetune.batch");
  }
  if (cell.spec->activations)
    throw Error("training beside rounded activations is not supported", cell.label,
                "activations: none");
  if (cell.spec->training == Training::kFull) return;
  if (!QuantizesAny(cell.plan)) {
    throw Error(fmt::format("{} trains {}, and no matrix is", SuffixOf(cell.spec->training),
                            cell.spec->training == Training::kQat ? "what is rounded"
                                                                  : "beside what is rounded"),
                cell.label, "full trains the weights as they are");
  }
  if (cell.spec->training == Training::kLora) return CheckTargets(cell.spec->lora, cell.plan);
  if (spec.scales != TrainedScales::kLearned) return;
  for (const PlannedLinear& linear : cell.plan)
    if (linear.scheme) CheckLearnsScales(*linear.scheme, linear.shape.name);
}

void TrainCell(const GroupContext& group, GroupCell& cell,
               const std::function<void(size_t step)>& kept) {
  const Clock::time_point start = Clock::now();
  const ModelWeights& reference = group.model->weights;
  const TrainSpec spec = TrainingOf(cell);
  QuantizedModel made = std::move(cell.quantized);
  cell.quantized = {};
  const ModelWeights begin = spec.lora               ? made.weights
                             : BeginsQuantized(cell) ? StartOf(made)
                                                     : reference;
  if (!spec.lora) made = {.weights = {}, .seconds = made.seconds};
  Team team(group.threads);
  std::vector<double> losses;
  ModelWeights trained;
  std::optional<TrainedCodes> codes;
  {
    Trainer trainer(group.model->config, reference, begin, cell.plan, spec, &team);
    losses = TakeSteps(group, cell, spec, trainer, kept);
    trained = trainer.Weights();
    if (spec.scales == TrainedScales::kLearned) codes.emplace(trainer.LearnedCodes());
  }
  made.seconds.train = Since(start);
  if (spec.lora) {
    cell.quantized = FinishLora(group, cell, std::move(made), std::move(trained));
  } else {
    const Rounder& rounder = codes ? static_cast<const Rounder&>(*codes) : ToNearest();
    cell.quantized = RoundTrained(group, cell, trained, cell.plan, rounder);
    made.seconds.round += cell.quantized.seconds.round;
    cell.quantized.seconds = made.seconds;
  }
  cell.quantized.losses = std::move(losses);
}

}  // namespace quantref
