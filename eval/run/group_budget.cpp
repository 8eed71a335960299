#include "eval/run/group_budget.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "eval/accuracy/sensitivity.h"
#include "eval/config/resolved_json.h"
#include "eval/facts/budget.h"
#include "eval/pass/group_share.h"
#include "eval/pass/score_facts.h"
#include "eval/pass/shard_work.h"
#include "eval/run/kept_file.h"
#include "eval/support/interrupt.h"
#include "eval/support/progress_bar.h"
#include "eval/support/say.h"
#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/clock.h"
#include "harness/base/sha256.h"
#include "harness/io/binary.h"
#include "harness/io/file.h"
#include "harness/model/plan_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

// The file (kept_file.h) has of each matrix its losses as a list, and seconds.
constexpr std::string_view kKindOfBudgets = "QRBUDG01";

// What is measured of a task.
struct Sensitivities {
  Losses losses;
  double seconds = 0;
};

bool Waits(const GroupCell& cell) {
  return cell.spec != nullptr && cell.spec->budget &&
         cell.spec->budget->rule == BudgetRule::kSensitivity && cell.budget_text != nullptr;
}

// Bits are those of the choices.
Facts SensitivityFacts(const SensitivityTask& task) {
  const std::vector<size_t>& choices = task.spec->budget->choices;
  Facts facts = {{"the budget's tokens", task.set->TokenSha256(task.set->data.samples.size())},
                 {"the budget's choices", fmt::format("{}", fmt::join(choices, " "))}};
  for (const PlannedLinear& linear : task.plan) {
    std::string& scheme = facts["the scheme of " + linear.shape.name];
    if (!linear.scheme) continue;
    WeightScheme of_choice = *linear.scheme;
    of_choice.bits = static_cast<int>(choices.front());
    scheme = HashedScheme(of_choice);
  }
  return facts;
}

SensitivityTask SensitivityTaskOf(const GroupContext& group, const GroupCell& cell) {
  SensitivityTask task{
      cell.spec, cell.budget_text, PlanModel(cell.spec->quantize, group.model->config), {}};
  task.asked = SensitivityFacts(task);
  return task;
}

std::string KeyOfTask(const GroupContext& group, const SensitivityTask& task) {
  Facts facts = OriginFacts(group);
  facts["the model"] = ResolvedJson(group.config())["model"].dump();
  facts.insert(task.asked.begin(), task.asked.end());
  return Sha256Hex(TextOf(facts));
}

std::string BudgetFileName(const std::string& key) {
  return fmt::format("{}{}.tmp", kBudgetStart, key.substr(0, 16));
}

// Nothing where the file is not whole, or of something else.
std::optional<Sensitivities> ReadBudgetFile(const fs::path& path, const std::string& key,
                                            const SensitivityTask& task) {
  const MappedFile file(path);
  const std::optional<std::string_view> payload = KeptPayload(file, kKindOfBudgets, key);
  if (!payload) return std::nullopt;
  std::string_view bytes = *payload;
  Sensitivities read;
  for (const PlannedLinear& linear : task.plan) {
    std::vector<double>& losses = read.losses.emplace_back();
    const size_t expected = linear.scheme ? task.spec->budget->choices.size() : 0;
    if (!TakeList(bytes, losses) || losses.size() != expected) return std::nullopt;
  }
  if (!Take(bytes, read.seconds) || !bytes.empty()) return std::nullopt;
  return read;
}

void KeepSensitivities(const GroupContext& group, const std::string& key,
                       const Sensitivities& measured) {
  std::string bytes;
  for (const std::vector<double>& losses : measured.losses) PutList(bytes, losses);
  Put(bytes, measured.seconds);
  try {
    WriteKeptFile(group.options.out / BudgetFileName(key), kKindOfBudgets, key,
                  [&](const ByteSink& sink) { sink(bytes); });
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& failure) {
    Say("sensitivities cannot be kept for --resume: {}\n", failure.what());
  }
}

// What an earlier run, where this one goes on with it, or another shard has left.
std::optional<Sensitivities> TakeSensitivities(const GroupContext& group, const std::string& key,
                                               const SensitivityTask& task) {
  std::vector<fs::path> folders = group.shards.kept_in;
  if (group.options.resume) folders.insert(folders.begin(), group.options.out);
  for (const fs::path& folder : folders) {
    const fs::path path = folder / BudgetFileName(key);
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) continue;
    std::string why = "it is damaged, or of something else";
    try {
      if (auto read = ReadBudgetFile(path, key, task)) return read;
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& failure) {
      why = failure.problem();
    }
    Say("{}: {}: SENSITIVITIES ARE MEASURED AGAIN\n", path.string(), why);
  }
  return std::nullopt;
}

Sensitivities MeasureTask(const GroupContext& group, const SensitivityTask& task) {
  const InterruptNote note(
      "nothing of this is kept: sensitivities are once all of them are measured");
  ProgressBar bar(fmt::format("{}, sensitivities", group.model->name), group.options.quiet,
                  group.eta, RunEta::Kind::kSensitivity);
  const SensitivityOptions options{
      .threads = group.threads, .progress = [&](size_t done, size_t total, std::string_view what) {
        ThrowIfCancelled();
        group.CheckInputs();
        bar.Update(done, total, what);
      }};
  const Clock::time_point start = Clock::now();
  Sensitivities measured;
  measured.losses = MeasureSensitivity(group.model->config, group.model->weights, task.plan,
                                       task.spec->budget->choices, task.set->data.samples, options);
  measured.seconds = Since(start);
  return measured;
}

// As the first of several processes sends them.
std::string BytesOfSensitivities(const Sensitivities& measured) {
  std::string bytes;
  Put(bytes, measured.seconds);
  for (const std::vector<double>& losses : measured.losses) PutList(bytes, losses);
  return bytes;
}

Sensitivities SensitivitiesIn(std::string_view bytes) {
  Sensitivities measured;
  QR_CHECK(Take(bytes, measured.seconds));
  for (std::vector<double> losses; TakeList(bytes, losses);) measured.losses.push_back(losses);
  return measured;
}

// By the places of the cell's plan, whose method may have changed the model.
Losses ForPlan(const Sensitivities& measured, const SensitivityTask& task, const GroupCell& cell) {
  std::map<std::string, size_t> places;
  for (size_t i = 0; i < task.plan.size(); ++i) places[task.plan[i].shape.name] = i;
  Losses losses;
  for (const PlannedLinear& linear : cell.plan) {
    const auto place = places.find(linear.shape.name);
    losses.push_back(place == places.end() ? std::vector<double>()
                                           : measured.losses[place->second]);
  }
  return losses;
}

void SayPlan(const GroupContext& group, const GroupCell& cell) {
  if (group.options.quiet) return;
  SayText(BudgetText(fmt::format("{} {}", cell.config->name, cell.label), *cell.spec->budget,
                     *cell.budget));
}

// What was measured already, and what that was, or why it cannot be. Of several processes the first
// measures.
class Measurements {
 public:
  explicit Measurements(const GroupContext& group) : group_(group) {}

  const Sensitivities& Of(const SensitivityTask& task) {
    for (const auto& [other, measured] : all_) {
      if (task.asked == other.asked) return measured;
    }
    for (const auto& [other, error] : failed_) {
      if (task.asked == other.asked) throw error;
    }
    Sensitivities measured;
    try {
      StepOfAll(group_.workers, [&] {
        if (group_.workers.IsFirst()) measured = TakeOrMeasure(task);
      });
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& error) {
      failed_.emplace_back(task, error);
      throw;
    }
    if (!group_.workers.Alone())
      measured = SensitivitiesIn(group_.workers.Broadcast(BytesOfSensitivities(measured)));
    all_.emplace_back(task, std::move(measured));
    return all_.back().second;
  }

 private:
  Sensitivities TakeOrMeasure(const SensitivityTask& task) const {
    const std::string key = KeyOfTask(group_, task);
    if (const auto taken = TakeSensitivities(group_, key, task)) return *taken;
    Sensitivities measured = MeasureTask(group_, task);
    KeepSensitivities(group_, key, measured);
    return measured;
  }

  const GroupContext& group_;
  std::deque<std::pair<SensitivityTask, Sensitivities>> all_;
  std::vector<std::pair<SensitivityTask, Error>> failed_;  // of a study, which goes on
};

void Spend(const GroupContext& group, Measurements& measurements, GroupCell& cell) {
  const SensitivityTask task = SensitivityTaskOf(group, cell);
  const Sensitivities& measured = measurements.Of(task);
  auto made = std::make_shared<BudgetPlan>(
      PlanUnderBudget(*cell.spec, cell.shape, ForPlan(measured, task, cell)));
  made->seconds = measured.seconds;
  cell.plan = made->plan;
  cell.budget = std::move(made);
}

// A matrix that the method adds to the model has no sensitivity.
void CheckMeasurable(const GroupContext& group, const GroupCell& cell) {
  const std::vector<PlannedLinear> before = PlanModel(cell.spec->quantize, group.model->config);
  for (const PlannedLinear& linear : cell.plan) {
    const auto same = std::find_if(before.begin(), before.end(), [&](const PlannedLinear& other) {
      return other.shape.name == linear.shape.name && other.scheme.has_value();
    });
    if (!linear.scheme || same != before.end()) continue;
    throw Error(fmt::format("{} makes {} a matrix of its own, whose sensitivity cannot be measured",
                            cell.spec->MethodName(), linear.shape.name),
                "quantize.budget", fmt::format("keep {}", linear.shape.name));
  }
}

}  // namespace

void PlanBudget(const RunConfig& config, const TestText& test, GroupContext& group,
                GroupCell& cell) {
  const BudgetSpec& spec = *cell.spec->budget;
  for (const std::vector<PlannedLinear>& plan : PlansOfChoices(*cell.spec, cell.shape))
    CheckSupports(cell.method, plan, config.calibration.sequential);
  if (!QuantizesAny(cell.plan)) return;
  if (spec.rule != BudgetRule::kSensitivity) {
    cell.budget = std::make_shared<const BudgetPlan>(PlanUnderBudget(*cell.spec, cell.shape));
    return;
  }
  CheckMeasurable(group, cell);
  const CalibrationSamples samples{.dataset = config.calibration.dataset,
                                   .split = config.calibration.split,
                                   .samples = spec.samples,
                                   .length = spec.length};
  cell.budget_text =
      &group.calibrations.Draw(config, samples, spec.seed, *group.model, test, group.options.quiet);
  if (!config.calibration.allow_overlap) RefuseContaminated(*cell.budget_text);
}

std::vector<SensitivityTask> SensitivityTasks(const GroupContext& group,
                                              std::span<const Pass> passes) {
  std::vector<SensitivityTask> tasks;
  for (const Pass& pass : passes) {
    for (const GroupCell& cell : pass) {
      if (!Waits(cell)) continue;
      SensitivityTask task = SensitivityTaskOf(group, cell);
      const bool known = std::any_of(tasks.begin(), tasks.end(),
                                     [&](const auto& other) { return task.asked == other.asked; });
      if (!known) tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

void SpendBudgets(GroupContext& group, std::vector<Pass>& passes) {
  Measurements measurements(group);
  for (Pass& pass : passes) {
    std::vector<const GroupCell*> failed;
    for (GroupCell& cell : pass) {
      if (cell.spec == nullptr || !cell.spec->budget) continue;
      try {
        if (Waits(cell)) Spend(group, measurements, cell);
        if (cell.budget != nullptr) SayPlan(group, cell);
      } catch (const Interrupted&) {
        throw;
      } catch (const Error& error) {
        group.Tolerate(*cell.config, error, cell.label);
        failed.push_back(&cell);
      }
    }
    std::erase_if(pass, [&](const GroupCell& cell) {
      return std::find(failed.begin(), failed.end(), &cell) != failed.end();
    });
  }
}

void RemoveKeptBudgets(const GroupContext& group, const Pass& cells,
                       std::span<const Pass> passes) noexcept {
  std::set<std::string> waited_for;
  for (const Pass& pass : passes) {
    if (pass.data() == cells.data()) continue;
    for (const GroupCell& cell : pass) waited_for.insert(BudgetFileOf(group, cell));
  }
  for (const GroupCell& cell : cells) {
    const std::string name = BudgetFileOf(group, cell);
    std::error_code ignored;
    if (!name.empty() && !waited_for.contains(name)) fs::remove(group.options.out / name, ignored);
  }
}

std::string BudgetFileOf(const GroupContext& group, const GroupCell& cell) {
  return Waits(cell) ? BudgetFileName(KeyOfTask(group, SensitivityTaskOf(group, cell))) : "";
}

}  // namespace quantref
