#include "eval/run/run_configs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <map>
#include <utility>

#include "eval/anatomy/anatomy_run.h"
#include "eval/candidate/candidate.h"
#include "eval/config/run_config.h"
#include "eval/config/setting_keys.h"
#include "eval/cost/cost.h"
#include "eval/cost/environment.h"
#include "eval/cost/memory_limits.h"
#include "eval/facts/budget.h"
#include "eval/facts/texts.h"
#include "eval/inputs/run_inputs.h"
#include "eval/pass/group_share.h"
#include "eval/pass/shard_work.h"
#include "eval/record/reference.h"
#include "eval/records/record.h"
#include "eval/run/export_cells.h"
#include "eval/run/group_run.h"
#include "eval/run/synthetic_run.h"
#include "eval/support/guarded.h"
#include "eval/support/nearest.h"
#include "eval/support/resources.h"
#include "eval/support/run_eta.h"
#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "eval/support/text_table.h"
#include "eval/table/results.h"
#include "harness/base/cancel.h"
#include "harness/base/error.h"
#include "harness/base/machine.h"
#include "harness/base/setting_error.h"
#include "harness/base/sha256.h"
#include "harness/formats/open_foreign.h"
#include "harness/kernels/blas_memory.h"
#include "harness/model/config.h"
#include "harness/model/load_model.h"
#include "harness/model/plan_model.h"

namespace quantref {
namespace {

// Configs that can be measured in one pass of the reference.
using Group = std::vector<const RunConfig*>;

bool Fits(const Group& group, const RunConfig& config) {
  const RunConfig& first = *group.front();
  if (config.model.synthetic || first.model.synthetic) return false;
  return config.model == first.model && config.accuracy == first.accuracy &&
         config.sample_when_offline == first.sample_when_offline;
}

std::vector<RunConfig> ReadConfigs(const RunOptions& options,
                                   const std::vector<ConfigText>& texts) {
  std::vector<RunConfig> configs;
  std::map<std::string, std::string> files;  // by name
  for (const ConfigText& text : texts) {
    for (RunConfig& config : ParseRunConfigs(text, options.assignments, options.candidates)) {
      const auto [other, is_new] = files.emplace(config.name, text.file);
      if (!is_new) {
        throw Error(fmt::format("the name '{}' is that of {} too", config.name, other->second),
                    text.file + ": name");
      }
      configs.push_back(std::move(config));
    }
  }
  return configs;
}

void CheckMethodsExist(const RunOptions& options, const std::vector<RunConfig>& configs) {
  std::vector<std::string> known = {kFp16Name, kAnyReference};
  for (const RunConfig& config : configs)
    for (const CellConfig& cell : config.cells) known.push_back(cell.label);
  for (const std::string& method : options.methods) {
    if (MeansReference(method)) continue;
    if (std::find(known.begin(), known.end(), method) != known.end()) continue;
    throw Error(fmt::format("no config has the method '{}'{}", method, DidYouMean(method, known)),
                "--methods");
  }
}

// Whether every model can be used, before anything is loaded: what no config can mend. Of a study's
// models some may fail, which is said when it is their turn; but not all of them.
void CheckModels(const std::vector<RunConfig>& configs) {
  std::vector<const RunConfig::ModelChoice*> checked;
  std::exception_ptr failure;
  bool usable = false;
  for (const RunConfig& config : configs) {
    usable |= config.model.synthetic;
    const bool known = std::any_of(checked.begin(), checked.end(),
                                   [&](const auto* other) { return *other == config.model; });
    if (config.model.synthetic || known) continue;
    checked.push_back(&config.model);
    try {
      CheckModelFiles(FindModel(config.model.name), config.model.weight_type, OpenForeign);
      usable = true;
    } catch (const Error&) {
      if (config.study.empty()) throw;
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure && !usable) std::rethrow_exception(failure);
}

void CheckPlan(const RunConfig& config, const CellConfig& cell, const ModelConfig& shape) {
  try {
    PlanModel(cell.quantize, shape);
    if (cell.budget) PlanUnderBudget(cell, shape);
  } catch (const Error& error) {
    const std::string hint = config.study.empty() || error.hint().empty()
                                 ? error.hint()
                                 : error.hint() + "; 'exclude' leaves points of a study out";
    throw Error(fmt::format("{} (for {} of {})", error.problem(), cell.label, config.name),
                InConfigsWords(error).where(), hint);
  }
}

// Whether the candidates are there and whole, as far as that is known without their weights. Those
// of a study are looked at when it is their turn.
void CheckCandidates(const RunOptions& options, const std::vector<RunConfig>& configs) {
  for (const RunConfig& config : configs) {
    if (!config.study.empty()) continue;
    for (const CellConfig& cell : config.cells)
      if (cell.IsCandidate() && options.Wants(cell.label)) MapCandidate(cell);
  }
}

// Whether every scheme can be had of its model's shapes.
void CheckPlans(const RunOptions& options, const std::vector<RunConfig>& configs) {
  for (const RunConfig& config : configs) {
    if (config.model.synthetic) continue;
    const ModelConfig shape = ReadModelConfig(FindModel(config.model.name));
    for (const CellConfig& cell : config.cells) {
      if (options.Wants(cell.label) && !cell.IsCandidate()) CheckPlan(config, cell, shape);
    }
  }
}

// Whether the limits leave room for each model with one cell and one thread, before anything is
// loaded. What the plan needs is known and compared when it is made.
void CheckRoom(const std::vector<RunConfig>& configs) {
  const std::vector<MemoryLimit> limits = MemoryLimits();
  for (const RunConfig& config : configs) {
    if (config.model.synthetic) continue;
    const std::filesystem::path path = FindModel(config.model.name);
    const ModelBytes bytes = BytesToLoad(path, config.model.weight_type, SaysForeign(path));
    CheckLimits({.files = static_cast<double>(bytes.files),
                 .memory = static_cast<double>(bytes.decoded),
                 .reserved = ReservedBytes(1) + static_cast<double>(kBlasLibraryBytes)},
                limits, "a run of " + config.model.name);
  }
}

// Groups of one model follow one another, so that it is loaded once.
std::vector<Group> MakeGroups(const std::vector<RunConfig>& configs) {
  std::vector<Group> groups;
  for (const RunConfig& config : configs) {
    const auto group =
        std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return Fits(g, config); });
    if (group != groups.end()) {
      group->push_back(&config);
      continue;
    }
    const auto last_of_model = std::find_if(groups.rbegin(), groups.rend(), [&](const Group& g) {
      return g.front()->model == config.model;
    });
    groups.insert(last_of_model == groups.rend() ? groups.end() : last_of_model.base(),
                  Group{&config});
  }
  return groups;
}

// What the groups of a run add up to.
struct Outcome {
  std::string records;  // the elements of a JSON array
  Cost cost;            // of a dry run
  size_t failed_cells = 0, failed_exports = 0;
  bool gate_failed = false;
  bool interrupted = false;  // while something was measured: what there is of it is among these

  void Add(const std::vector<Record>& made) {
    for (const Record& record : made) records += (records.empty() ? "" : ",\n") + record.json;
  }
};

// Quantized ones, with the reference of each config.
size_t CountCells(const RunOptions& options, const Group& group) {
  size_t cells = group.size();
  for (const RunConfig* config : group) {
    for (const CellConfig& cell : config->cells) cells += options.Wants(cell.label);
  }
  return cells;
}

void RunSynthetic(const RunOptions& options, const RunConfig& config, size_t threads, RunEta& eta,
                  Outcome& outcome) {
  if (IsFinished(options, config)) {
    if (!options.quiet) Say("{} is finished (--rerun measures it again)\n", config.name);
    return;
  }
  SyntheticRun run(options, config, threads, eta);
  options.dry_run ? outcome.cost.Add(run.PrintPlan()) : outcome.Add(run.Run());
}

// Returns false, and says why, where the group is all of studies and cannot be prepared.
bool Prepare(GroupRun& run, const Group& group) {
  try {
    run.Prepare();
    return true;
  } catch (const TeamError&) {
    throw;
  } catch (const Error& error) {
    const bool all_of_studies = std::none_of(
        group.begin(), group.end(), [](const RunConfig* config) { return config->study.empty(); });
    if (!all_of_studies || CancelRequested()) throw;
    Say("{} to {} cannot be measured, the others go on: {}\n", group.front()->name,
        group.back()->name, error.what());
    return false;
  }
}

void RunGroup(const RunOptions& options, const Group& group, size_t threads, ModelLoader& models,
              RunEta& eta, ShardWork& shards, Workers& workers, Outcome& outcome) {
  GroupRun run(options, group, threads, models, eta, shards, workers);
  if (!Prepare(run, group)) {
    for (const RunConfig* config : group) {
      ++outcome.failed_cells;  // the reference
      for (const CellConfig& cell : config->cells)
        outcome.failed_cells += options.Wants(cell.label);
    }
    return;
  }
  if (options.dry_run && !workers.IsFirst()) return;
  options.dry_run ? outcome.cost.Add(run.PrintPlan()) : outcome.Add(run.Run());
  outcome.failed_cells += run.failed_cells();
  outcome.failed_exports += run.failed_exports();
  outcome.interrupted = run.interrupted();
  outcome.gate_failed = outcome.gate_failed || run.gate_failed();
}

void RefuseSynthetic(const std::vector<RunConfig>& configs, const char* because) {
  for (const RunConfig& config : configs) {
    if (config.model.synthetic) throw Error(because, config.file, "run it by itself");
  }
}

// What all processes of a run must have been told alike, so that they take the same steps.
Facts WorkFacts(const RunOptions& options, const std::vector<Group>& groups) {
  Facts facts = {{"--windows", std::to_string(options.windows)},
                 {"--methods", fmt::format("{}", fmt::join(options.methods, " "))},
                 {"--ledger", options.ledger.Name()},
                 {"--dry-run", options.dry_run ? "yes" : "no"}};
  for (size_t g = 0; g < groups.size(); ++g) {
    for (const RunConfig* config : groups[g]) {
      facts["config " + config->name] =
          fmt::format("{} in group {}", Sha256Hex(config->ResolvedForScores()), g + 1);
    }
  }
  return facts;
}

int RunAll(const RunOptions& options, const std::vector<ConfigText>& texts, ShardWork& shards,
           Workers& workers) {
  const std::vector<RunConfig> configs = ReadConfigs(options, texts);
  CheckMethodsExist(options, configs);
  CheckColumns(options.columns);
  if (!shards.Alone())
    RefuseSynthetic(configs, "a model without weights has no windows that could be shared");
  if (options.ledger.asked)
    RefuseSynthetic(configs, "a model without weights changes nothing that a ledger could divide");
  CheckRoom(configs);
  CheckModels(configs);
  CheckPlans(options, configs);
  CheckCandidates(options, configs);
  CheckExports(options, configs);
  const size_t threads = options.threads == 0 ? CoreCount() : options.threads;
  if (!options.dry_run && workers.IsFirst()) PrepareRecordFolder(options.out);
  if (options.weights) {
    if (workers.IsFirst()) RunAnatomy(options, configs, threads);
    return 0;
  }
  const std::vector<Group> groups = MakeGroups(configs);
  CheckAgreement(workers, [&] { return WorkFacts(options, groups); });
  ModelLoader models(threads);
  Outcome outcome;
  RunEta eta;
  size_t unplanned = 0;
  for (const Group& group : groups) unplanned += CountCells(options, group);
  for (const Group& group : groups) {
    if (outcome.interrupted) break;
    ThrowIfCancelled();
    unplanned -= CountCells(options, group);
    eta.SetUnplanned(unplanned);
    if (group.front()->model.synthetic) {
      if (workers.IsFirst()) RunSynthetic(options, *group.front(), threads, eta, outcome);
    } else {
      RunGroup(options, group, threads, models, eta, shards, workers, outcome);
    }
    if (!outcome.interrupted) workers.WaitForFirst();
  }
  if (options.dry_run && groups.size() > 1) {
    PrintWhole("\n" + Wrapped(CostText(fmt::format("all {} groups", groups.size()), outcome.cost),
                              LineWidth(STDOUT_FILENO)));
  }
  if (options.json && !options.dry_run) PrintWhole("[\n" + outcome.records + "]\n");
  const auto say_failed = [](size_t cells, const char* what) {
    if (cells > 0)
      Say("run_eval: {} could not be {}, as said above\n", Plural(cells, "cell"), what);
  };
  say_failed(outcome.failed_cells, "measured");
  say_failed(outcome.failed_exports, "exported");
  if (outcome.failed_cells + outcome.failed_exports > 0) return kExitWrongInput;
  return outcome.gate_failed ? kExitGateFailed : 0;
}

}  // namespace

int RunConfigs(const RunOptions& options, const std::vector<ConfigText>& texts, ShardWork& shards,
               Workers& workers) {
  try {
    return RunAll(options, texts, shards, workers);
  } catch (const SettingError& error) {
    throw InConfigsWords(error);
  }
}

}  // namespace quantref
