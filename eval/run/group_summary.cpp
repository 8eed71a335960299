#include "eval/run/group_summary.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "eval/accuracy/reference_name.h"
#include "eval/accuracy/summary.h"
#include "eval/accuracy/transformer_subject.h"
#include "eval/candidate/candidate.h"
#include "eval/cost/environment.h"
#include "eval/ledger/block_ledger.h"
#include "eval/pass/shard_work.h"
#include "harness/base/parallel.h"
#include "harness/model/plan_model.h"

namespace quantref {
namespace {

MeasuredWindows WindowsOf(const GroupResult& shared, size_t model) {
  return Measured(shared.measurement.scores[model], shared.windows);
}

void Compare(const GroupContext& group, const GroupResult& shared, const Pass& cells,
             const GroupCell& cell, CellResult& result) {
  const MeasuredWindows own = WindowsOf(shared, cell.model), reference = WindowsOf(shared, 0);
  result.reference = SummarizePerplexity(reference, group.stream);
  result.reference_name = ReferenceName(group.model->weights);
  result.comparison = SummarizeComparison(own, reference);
  for (const GroupCell& other : cells) {
    if (other.spec == nullptr || &other == &cell) continue;
    const MeasuredWindows of_other = WindowsOf(shared, other.model);
    const std::optional<Interval> difference = PairedDifference(own, of_other);
    if (difference) result.against.push_back({other.config->name, other.label, *difference});
    if (other.config == cell.config && other.spec == cell.spec) {
      result.other_seeds.push_back(
          {other.calibration->seed, SummarizePerplexity(of_other, group.stream).nll.mean});
    }
  }
}

std::map<std::string, OutlierShare> OutliersOf(const GroupContext& group, const GroupResult& shared,
                                               const GroupCell& cell) {
  std::map<std::string, OutlierShare> shares;
  if (!cell.spec->activations || !cell.spec->activations->outliers) return shares;
  const MeasuredWindows measured = WindowsOf(shared, cell.model);
  const ModelConfig& config = group.model->config;
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    const BlockPlan plan = PlanOfBlock(config, cell.plan, layer);
    for (const LinearRow& row : plan.layout.linears) {
      if (!plan[row.index].scheme) continue;
      shares[plan[row.index].shape.name] =
          SummarizeOutliers(measured, OutlierPlace(layer, row.tap), row.cols);
    }
  }
  return shares;
}

RotationFacts RotationOf(const ModelConfig& before, const ModelConfig& after) {
  const LayerConfig& layer = after.layers.front();
  const double flops = after.RotationFlops();
  return {.head_untied = before.tied_head && !after.tied_head,
          .attention_order = layer.attention_rotation.order,
          .mlp_order = layer.mlp_rotation.order,
          .flops = flops,
          .share = flops / after.ForwardFlops(1, 1)};
}

bool HoldsCodes(const ModelWeights& weights) {
  const std::vector<const Linear*> linears = AllLinears(weights);
  return std::any_of(linears.begin(), linears.end(),
                     [](const Linear* linear) { return linear->weight.quantized(); });
}

bool RoundsInputs(const GroupCell& cell) {
  const std::vector<const Linear*> linears = AllLinears(cell.quantized.weights);
  return cell.spec->activations.has_value() ||
         std::any_of(linears.begin(), linears.end(),
                     [](const Linear* linear) { return linear->activations.has_value(); });
}

// Of the processes beside this one that measured windows, and this one; each once.
std::vector<std::string> HostsOf(const GroupContext& group) {
  if (group.workers.Alone()) return group.shards.Hosts();
  const std::vector<std::string> all = group.workers.hosts();
  const std::set<std::string> each(all.begin(), all.end());
  return {each.begin(), each.end()};
}

void PutQuantized(const GroupCell& cell, CellResult& result) {
  result.kernel_linears = cell.path.linears - cell.path.simulated.size();
  result.simulated_linears = cell.path.simulated;
  result.decoded_from = cell.path.decoded_from;
  result.gap = cell.gap;
  GapLimits asked{std::nullopt, cell.config->path.max_linear_gap};
  if (!RoundsInputs(cell) && !cell.spec->kv_cache) asked.kl_mean = cell.config->path.max_gap;
  result.limits = LimitsFor(cell.quantized.weights, asked);
  result.layers = cell.quantized.layers;
  result.candidate = cell.candidate;
  // Of decoded blocks it would say nothing.
  if (cell.candidate == nullptr || HoldsCodes(cell.quantized.weights))
    result.packed_sha256 = cell.weights_sha256;
  result.calibration = cell.calibration;
  result.calibrates = cell.calibrates;
  if (cell.calibration != nullptr)
    result.read = ReadBy(cell.calibration->data, cell.method.Needs(cell.plan));
  result.budget = cell.budget;
  result.budget_text = cell.budget_text;
  result.stages = cell.quantized.seconds;
  result.quantize_threads = cell.quantize_threads;
  result.training = cell.training;
  result.losses = cell.quantized.losses;
}

std::shared_ptr<const CellLedger> LedgerOf(const GroupContext& group, const GroupResult& shared,
                                           const Pass& cells, const GroupCell& cell) {
  const auto blocks = shared.ledgers.find(cell.model);
  return std::make_shared<CellLedger>(
      CellLedger{.request = group.options.ledger.Name(),
                 .steps = StepsOf(group, shared.measurement.scores, cells, cell),
                 .blocks = blocks == shared.ledgers.end() ? nullptr : blocks->second});
}

CellResult ResultOf(const GroupContext& group, const GroupResult& shared, const Pass& cells,
                    const GroupCell& cell) {
  CellResult result{
      .config = cell.config, .spec = cell.spec, .label = cell.label, .model = cell.model};
  result.bits =
      cell.candidate != nullptr ? StoredBits(*cell.candidate) : MeasureBits(cell.quantized.weights);
  result.perplexity = SummarizePerplexity(WindowsOf(shared, cell.model), group.stream);
  result.evaluate_seconds =
      shared.measurement.seconds[cell.model] / static_cast<double>(group.threads);
  result.speed = cell.speed;
  if (cell.spec == nullptr) return result;
  PutQuantized(cell, result);
  result.outliers = OutliersOf(group, shared, cell);
  if (cell.spec->kv_cache)
    result.kv_cache =
        DescribeKvCache(group.model->config, group.LongestWindow(), *cell.spec->kv_cache);
  if (cell.spec->training == Training::kLora)
    result.lora = DescribeLora(cell.spec->lora, cell.plan, cell.quantized.weights);
  if (!cell.method.model_transforms.empty())
    result.rotation = RotationOf(group.model->config, cell.shape);
  Compare(group, shared, cells, cell, result);
  if (group.options.ledger.asked) result.ledger = LedgerOf(group, shared, cells, cell);
  return result;
}

}  // namespace

GroupResult Describe(const GroupContext& group, Measurement measurement) {
  Environment environment = DescribeEnvironment(group.threads);
  environment.hosts = HostsOf(group);
  return {.model = &*group.model,
          .outliers = group.config().model.outliers,
          .text = &group.text,
          .protocol = &group.protocol,
          .stream = &group.stream,
          .windows = group.windows,
          .all_windows = group.all_windows,
          .measurement = std::move(measurement),
          .environment = std::move(environment),
          .load_seconds = group.load_seconds};
}

std::vector<CellResult> Summarize(const GroupContext& group, const GroupResult& shared,
                                  const Pass& cells) {
  std::vector<const GroupCell*> recorded;
  for (const GroupCell& cell : cells) {
    if (cell.Recorded()) recorded.push_back(&cell);  // the reference was needed all the same
  }
  std::vector<CellResult> results(recorded.size());
  ParallelFor(recorded.size(), group.threads,
              [&](size_t i, size_t) { results[i] = ResultOf(group, shared, cells, *recorded[i]); });
  return results;
}

}  // namespace quantref
