#include "eval/run/export_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>

#include "eval/facts/budget.h"
#include "eval/inputs/group_cell.h"
#include "eval/inputs/run_inputs.h"
#include "eval/record/store.h"
#include "eval/run/group_plan.h"
#include "eval/support/resources.h"
#include "eval/support/say.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/export/export.h"
#include "harness/formats/open_foreign.h"
#include "harness/io/file.h"
#include "harness/model/load_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

const ExportFormat& FormatAskedFor(const RunOptions& options) {
  const ExportFormat* format = FindExportFormat(options.export_format);
  QR_CHECK(format != nullptr);  // the command line takes no other
  return *format;
}

fs::path ExportPath(const RunOptions& options, const std::string& config,
                    const std::string& label) {
  std::string name = config + "-" + label;
  for (char& c : name) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0;
    if (!plain && std::string_view("._+=-").find(c) == std::string_view::npos) c = '-';
  }
  return options.export_folder / name;
}

// What is thrown of files names the option that is meant.
template <typename F>
void NamingTheOption(const F& f) {
  try {
    f();
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& error) {
    std::string hint = error.hint();
    constexpr std::string_view kOfRecords = "--out";
    const size_t at = hint.find(kOfRecords);
    if (at != std::string::npos) hint.replace(at, kOfRecords.size(), "--export");
    throw Error(error.problem(), error.where(), hint);
  }
}

using Plan = std::vector<PlannedLinear>;

// What is planned of a cell; nothing where it is none that would be made, which is said elsewhere.
struct ExportPlan {
  Method method;
  ModelConfig config;
  std::vector<Plan> plans;  // each that it may come to, or that has a scheme that one may have
};

// Once adapters are merged into FP16 numbers, these are what is left.
void LeaveNumbers(const CellConfig& cell, Plan& plan) {
  if (cell.training != Training::kLora || cell.lora.merge != LoraMerge::kFp16) return;
  for (PlannedLinear& linear : plan) linear.scheme.reset();
}

// What of a budget is spent by a measurement is not known before it.
bool IsOpen(const CellConfig& cell) {
  return cell.budget && cell.budget->rule == BudgetRule::kSensitivity;
}
std::optional<ExportPlan> PlanExport(const RunConfig& config, const CellConfig& cell,
                                     const ModelConfig& original) {
  try {
    ExportPlan made{cell.MakeMethod(), {}, {}};
    made.config = made.method.ModelAfter(original);
    made.plans.push_back(PlanOfCell(cell, made.config));
    if (!cell.Changes(made.plans.front())) return std::nullopt;
    if (IsOpen(cell)) {
      for (Plan& plan : PlansOfChoices(cell, made.config)) made.plans.push_back(std::move(plan));
    }
    for (Plan& plan : made.plans) LeaveNumbers(cell, plan);
    return made;
  } catch (const Interrupted&) {
    throw;
  } catch (const Error&) {
    if (config.study.empty()) throw;
    return std::nullopt;
  }
}

CellToExport::Remedies RemediesOf(const Method& method) {
  CellToExport::Remedies remedies{.adapters = "lora.merge: fp16 or round"};
  for (const ModelTransform* transform : method.model_transforms) {
    if (!transform->InWeights().empty()) remedies.rotations = transform->InWeights();
  }
  remedies.reorders = [&method](const PlannedLinear& linear) {
    return method.RounderFor(linear).InPlace();
  };
  return remedies;
}

// What it refers to must outlive it.
CellToExport ToExport(const CellConfig& cell, const Method& method, const fs::path& model,
                      const ModelConfig& original, const ModelConfig& config, const Plan& plan) {
  return {.model = model,
          .original = original,
          .config = config,
          .plan = plan,
          .activations = cell.activations,
          .rounds_cache = cell.kv_cache.has_value(),
          .folds = !method.transforms.empty(),
          .adapters = cell.training == Training::kLora && cell.lora.merge == LoraMerge::kNone,
          .reorders =
              [&method](const PlannedLinear& linear) {
                const Rounder& rounder = method.RounderFor(linear);
                return rounder.Reorders(*linear.scheme, method.KnobsOf(rounder));
              },
          .remedies = RemediesOf(method)};
}

// Whether there will be such a cell.
bool CheckFormat(const ExportFormat& format, const RunConfig& config, const CellConfig& cell,
                 const fs::path& model, const ModelConfig& original) {
  const std::optional<ExportPlan> made = PlanExport(config, cell, original);
  if (!made) return false;
  try {
    for (const Plan& plan : made->plans)
      CheckExportable(format, ToExport(cell, made->method, model, original, made->config, plan));
  } catch (const Error& error) {
    throw Error(fmt::format("{} (for {} of {})", error.problem(), cell.label, config.name),
                error.where(),
                error.hint() + (config.study.empty() ? "; --methods leaves cells out"
                                                     : "; 'exclude' leaves points out"));
  }
  return true;
}

// Of a cell that will be: `taken` are the folders of others. What is there is a run's that goes on.
void ClaimFolder(const RunOptions& options, const RunConfig& config, const std::string& label,
                 std::set<fs::path>& taken) {
  const fs::path path = ExportPath(options, config.name, label);
  if (!taken.insert(path).second) {
    throw Error("expected a folder of its own for each cell, found two of this name", path.string(),
                fmt::format("give {} or its cell {} another name", config.name, label));
  }
  if (options.resume || !IsPresent(path)) return;
  throw Error("expected no folder of this name, found one", path.string(),
              "move it away, or choose another folder with --export");
}

void Export(const GroupContext& group, const ExportFormat& format, const GroupCell& cell) {
  const RunOptions& options = group.options;
  const fs::path folder = ExportPath(options, cell.config->name, cell.label);
  if (options.resume && IsExportOf(folder, format, cell.weights_sha256)) return;
  if (IsOpen(*cell.spec)) {  // schemes that it can hold one by one, but not beside each other
    Plan plan = cell.plan;
    LeaveNumbers(*cell.spec, plan);
    CheckExportable(format, ToExport(*cell.spec, cell.method, group.model->dir, group.model->config,
                                     cell.shape, plan));
  }
  const FinishedCell finished{
      .model = group.model->dir,
      .config = cell.shape,
      .weights = cell.quantized.weights,
      .origin = {cell.config->name, cell.label, group.model->name, cell.weights_sha256}};
  NamingTheOption([&] { ExportCell(format, finished, folder); });
  if (!options.quiet)
    Say("{}: {} {} as {}\n", folder.string(), cell.config->name, cell.label, format.name);
}

}  // namespace

void CheckExports(const RunOptions& options, const std::vector<RunConfig>& configs) {
  if (options.export_folder.empty()) return;
  const ExportFormat& format = FormatAskedFor(options);
  bool any = false;
  std::set<fs::path> taken;
  for (const RunConfig& config : configs) {
    if (config.model.synthetic) {
      throw Error("expected a model of weights, found a synthetic one", "--export",
                  "leave out " + config.name);
    }
    const fs::path model = FindModel(config.model.name);
    if (SaysForeign(model)) {
      throw Error("expected a model of plain weights, found one that another tool has quantized",
                  "--export", "leave out " + config.name);
    }
    const ModelConfig original = ReadModelConfig(model);
    for (const CellConfig& cell : config.cells) {
      if (!options.Wants(cell.label) || cell.IsCandidate()) continue;
      if (!CheckFormat(format, config, cell, model, original)) continue;
      any = true;
      ClaimFolder(options, config, cell.label, taken);
      const std::vector<size_t>& seeds = config.calibration.seeds;
      if (seeds.size() < 2) continue;  // no cell has its seed in its name
      for (const size_t seed : seeds)
        ClaimFolder(options, config, LabelOfSeed(cell.label, seed), taken);
    }
  }
  if (!any) {
    throw Error(
        "expected a quantized cell to export, found none: candidates are checkpoints, and "
        "the reference is the model itself",
        "--export", "name a method with --methods, or leave --export out");
  }
  if (!options.dry_run)
    NamingTheOption([&] { PrepareFolder(options.export_folder, "exports", "--export"); });
}

void ExportCells(GroupContext& group, const Pass& cells) {
  if (group.options.export_folder.empty()) return;
  const ExportFormat& format = FormatAskedFor(group.options);
  for (const GroupCell& cell : cells) {
    if (cell.spec == nullptr || cell.candidate != nullptr) continue;
    try {
      Export(group, format, cell);
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& error) {
      group.CheckInputs();
      Say("{} {} is NOT EXPORTED, and measured all the same: {}\n", cell.config->name, cell.label,
          error.what());
      ++group.failed_exports;
    }
  }
}

std::string UnexportedText(const GroupContext& group, const std::vector<GroupCell>& cells) {
  if (group.options.export_folder.empty()) return "";
  std::string text;
  for (const GroupCell& cell : cells) {
    if (cell.spec == nullptr || cell.candidate != nullptr || !cell.finished) continue;
    text += fmt::format("{} {} is finished and NOT EXPORTED (--rerun makes it again)\n",
                        cell.config->name, cell.label);
  }
  return text;
}

}  // namespace quantref
