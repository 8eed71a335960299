#include "eval/run/group_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "eval/accuracy/reference_name.h"
#include "eval/candidate/candidate.h"
#include "eval/cost/environment.h"
#include "eval/facts/budget.h"
#include "eval/facts/kv_cache_facts.h"
#include "eval/facts/texts.h"
#include "eval/pass/shard_work.h"
#include "eval/run/group_budget.h"
#include "eval/run/group_cost.h"
#include "eval/run/group_train.h"
#include "eval/run/kept_cells.h"
#include "eval/support/say.h"
#include "eval/support/text_table.h"
#include "harness/base/error.h"
#include "harness/base/machine.h"
#include "harness/kernels/gemm.h"
#include "harness/model/plan_model.h"

namespace quantref {
namespace {

// Of the memory that is free now, what the cells of a pass may take.
constexpr double kMostMemory = 0.8;

void PlanTraining(const RunConfig& config, const TestText& test, GroupContext& group,
                  GroupCell& cell) {
  CheckTrains(group, cell);
  const FinetuneSpec& spec = config.finetune;
  cell.training = &group.calibrations.Draw(config, spec.Samples(), spec.seed, *group.model, test,
                                           group.options.quiet);
  if (!spec.allow_overlap) RefuseContaminated(*cell.training, "finetune");
}

GroupCell PlanCandidate(const RunConfig& config, const CellConfig& spec,
                        const GroupContext& group) {
  GroupCell cell{.config = &config, .spec = &spec, .label = spec.label};
  cell.candidate = OpenCandidate(group, spec);
  cell.shape = cell.candidate->model.config;
  cell.plan = PlanOfCell(spec, cell.shape);
  return cell;
}

// One cell, or one for each seed where the method calibrates and there are several; none where it
// would be the reference under another name.
std::vector<GroupCell> PlanMethod(const RunConfig& config, const CellConfig& spec,
                                  GroupContext& group) {
  if (spec.IsCandidate()) return {PlanCandidate(config, spec, group)};
  GroupCell cell{
      .config = &config, .spec = &spec, .label = spec.label, .method = spec.MakeMethod()};
  cell.shape = cell.method.ModelAfter(group.model->config);
  cell.plan = PlanOfCell(spec, cell.shape);
  CheckActivations(cell.plan, cell.shape, spec.activations);
  if (!spec.Changes(cell.plan)) {
    Say("{}", UnquantizedText(config.name, spec.label));
    return {};
  }
  if (spec.kv_cache)
    CheckRounds(group.model->config, *spec.kv_cache, group.LongestWindow(), spec.label);
  CheckSupports(cell.method, cell.plan, config.calibration.sequential);
  cell.calibrates = cell.method.Needs(cell.plan).Any();
  const std::vector<size_t>& seeds = config.calibration.seeds;
  std::vector<GroupCell> cells;
  const bool reported = config.calibration.asked && QuantizesAny(cell.plan);
  const TestText test{group.text, group.stream, group.windows};
  if (spec.budget) PlanBudget(config, test, group, cell);
  if (spec.training != Training::kNone) PlanTraining(config, test, group, cell);
  for (size_t i = 0; i < (cell.calibrates ? seeds.size() : 1); ++i) {
    if (cell.calibrates || (reported && cell.training == nullptr)) {
      cell.calibration = &group.calibrations.Draw(config, config.calibration, seeds[i],
                                                  *group.model, test, group.options.quiet);
    }
    if (cell.calibrates && !config.calibration.allow_overlap) RefuseContaminated(*cell.calibration);
    if (cell.calibrates && seeds.size() > 1) cell.label = LabelOfSeed(spec.label, seeds[i]);
    cells.push_back(cell);
  }
  return cells;
}

std::vector<GroupCell> PlanConfig(const RunConfig& config, GroupContext& group) {
  std::vector<GroupCell> cells = {{.config = &config,
                                   .label = ReferenceName(group.model->weights),
                                   .shape = group.model->config}};
  for (const CellConfig& spec : config.cells) {
    if (!group.options.Wants(spec.label)) continue;
    try {
      std::vector<GroupCell> own = PlanMethod(config, spec, group);
      std::move(own.begin(), own.end(), std::back_inserter(cells));
    } catch (const Error& error) {
      group.Tolerate(config, error, spec.label);
    }
  }
  return cells;
}

SoughtCell Sought(const GroupContext& group, const GroupCell& cell) {
  const bool reference = cell.spec == nullptr;
  SoughtCell sought{.name = {.config = cell.config->name,
                             .method = reference ? cell.label : cell.spec->label,
                             .model = group.model->name,
                             .protocol = group.protocol.name,
                             .reference = reference},
                    .resolved = cell.config->Resolved(),
                    .facts = OwnBuildAndMachine(),
                    .windows = WindowOrder(group.windows.size(), group.config().accuracy.order,
                                           group.config().accuracy.stop)};
  if (!reference) sought.ledger = group.options.ledger.Name();
  sought.facts.merge(Facts{{"model.sha256", group.model->weights.checkpoint->Sha256()},
                           {"model.config_sha256", group.model->config.sha256},
                           {"model.tokenizer_sha256", group.model->tokenizer.sha256()},
                           {"dataset.sha256", group.text.sha256},
                           {"protocol.token_sha256", group.stream.sha256}});
  if (cell.candidate != nullptr) {
    const Model& own = cell.candidate->model;
    sought.facts.merge(Facts{{"candidate.sha256", own.weights.checkpoint->Sha256(group.threads)},
                             {"candidate.config_sha256", own.config.sha256},
                             {"candidate.tokenizer_sha256", own.tokenizer.sha256()}});
  }
  if (const CalibrationSet* set = cell.training)
    sought.facts["finetune.token_sha256"] = set->TokenSha256(set->data.samples.size());
  if (const CalibrationSet* set = cell.budget_text) {
    sought.facts["budget.calibration.token_sha256"] = set->TokenSha256(set->data.samples.size());
  }
  if (cell.calibrates) {
    const CalibrationSet& set = *cell.calibration;
    const TextRead read = ReadBy(set.data, cell.method.Needs(cell.plan));
    sought.facts["calibration.token_sha256"] = set.TokenSha256(read.samples, read.length);
    if (cell.config->calibration.seeds.size() > 1) sought.name.seed = cell.calibration->seed;
  }
  return sought;
}

// Of studies and of a run that is resumed.
void MarkFinished(const GroupContext& group, std::vector<GroupCell>& cells) {
  const RunOptions& options = group.options;
  std::vector<const RunConfig*> sought;
  std::copy_if(group.configs.begin(), group.configs.end(), std::back_inserter(sought),
               [&](const RunConfig* c) { return options.resume || !c->study.empty(); });
  const FinishedCells finished(options.out, sought, options.any_commit);
  MarkFinished(
      finished, options.resume, [&](const GroupCell& cell) { return Sought(group, cell); }, cells);
}

// Of the run, on this machine.
size_t ProcessesHere(const Workers& workers) {
  const std::vector<std::string> hosts = workers.hosts();
  return std::max<size_t>(1, static_cast<size_t>(std::ranges::count(hosts, HostName())));
}

void CheckTogether(const Pass& pass, double bytes, double memory) {
  if (bytes <= memory || pass.front().config == pass.back().config) return;
  throw Error(fmt::format("shards measure all configs of a model and text together: expected "
                          "{:.1f} GB of memory for them, found {:.1f}",
                          bytes / 1e9, memory / 1e9),
              pass.front().config->name, "name fewer configs at a time, or give more --memory");
}

// Of what several processes of the run have together here, this one's share.
std::vector<MemoryLimit> OwnLimits(double processes) {
  std::vector<MemoryLimit> limits = MemoryLimits();
  for (MemoryLimit& limit : limits) {
    if (limit.of_group) limit.most /= processes;
  }
  return limits;
}

std::vector<Pass> PassesThatFit(const GroupContext& group, const std::vector<GroupCell>& cells) {
  const auto here = static_cast<double>(ProcessesHere(group.workers));
  const double memory = group.options.memory_gb > 0
                            ? group.options.memory_gb * 1e9
                            : kMostMemory * static_cast<double>(AvailableMemoryBytes()) / here;
  BlasVersion();  // so that OpenBLAS is loaded and among what is used already
  const std::vector<MemoryLimit> limits = OwnLimits(here);
  const auto bytes = [&](const Pass& pass) {
    return LoadedBytes(group.model->weights) + NeedOf(group, pass).memory;
  };
  // Shards must all have the same passes, whatever their machines have free.
  std::vector<Pass> passes = SplitIntoPasses(cells, [&](const Pass& pass) {
    return !group.shards.Alone() ||
           (bytes(pass) <= memory && FitsLimits(NeedOf(group, pass), limits));
  });
  for (const Pass& pass : passes) {
    CheckLimits(NeedOf(group, pass), limits, "measuring " + pass.front().config->name);
    if (!group.shards.Alone()) CheckTogether(pass, bytes(pass), memory);
  }
  return passes;
}

}  // namespace

std::vector<PlannedLinear> PlanOfCell(const CellConfig& cell, const ModelConfig& config) {
  if (cell.budget) return PlanUnderBudget(cell, config).plan;
  if (cell.training != Training::kFull && !cell.IsCandidate())
    return PlanModel(cell.quantize, config);
  QuantizeSpec nothing;
  nothing.keep = {"*"};
  return PlanModel(nothing, config);
}

std::string LabelOfSeed(const std::string& label, size_t seed) {
  return fmt::format("{} seed={}", label, seed);
}

GroupPlan PlanGroup(GroupContext& group) {
  GroupPlan plan;
  for (const RunConfig* config : group.configs) {
    std::vector<GroupCell> cells = PlanConfig(*config, group);
    std::move(cells.begin(), cells.end(), std::back_inserter(plan.cells));
  }
  if (group.workers.IsFirst()) {
    if (!group.options.rerun && group.shards.Alone()) MarkFinished(group, plan.cells);
    NameKept(group, plan.cells);
    plan.passes = PassesThatFit(group, plan.cells);
  }
  return plan;
}

}  // namespace quantref
