#include "eval/pass/group_share.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "eval/config/setting_keys.h"
#include "eval/inputs/cell_task.h"
#include "eval/pass/score_facts.h"
#include "eval/support/progress_bar.h"
#include "eval/support/text_table.h"
#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/binary.h"
#include "harness/method/kept_model.h"

namespace quantref {
namespace {

std::string NameOfRank(const Workers& workers, size_t rank) {
  return fmt::format("rank {} on {}", rank, workers.hosts().at(rank));
}

std::string BytesOfFacts(const Facts& facts) {
  std::string bytes;
  for (const auto& [name, value] : facts) {
    PutList(bytes, name);
    PutList(bytes, value);
  }
  return bytes;
}

Facts FactsIn(std::string_view bytes) {
  Facts facts;
  std::string name, value;
  while (TakeList(bytes, name) && TakeList(bytes, value)) facts[name] = value;
  return facts;
}

// What a process gives of a cell that was to be made: whether it was, and the model; or why not.
std::string SentModel(const GroupContext& group, const GroupCell& cell) {
  std::string bytes(1, '\1');
  const auto append = [&](std::string_view piece) { bytes += piece; };
  if (!WriteModel(group.model->weights, cell.plan, cell.quantized, append))
    throw Error("a matrix is in a form that is never sent", cell.label);
  return bytes;
}

std::string FailureBytes(const Error& error) {
  const Error told = InConfigsWords(error);
  std::string bytes;
  for (const std::string& part : {told.problem(), told.where(), told.hint()}) PutList(bytes, part);
  return bytes;
}

// What fails on rank 0 needs no name: it speaks for all.
[[noreturn]] void ThrowFailure(const Workers& workers, size_t rank, std::string_view bytes) {
  std::string problem, where, hint;
  QR_CHECK(TakeList(bytes, problem) && TakeList(bytes, where) && TakeList(bytes, hint));
  if (rank > 0) where = NameOfRank(workers, rank) + (where.empty() ? "" : ": " + where);
  throw Error(problem, where, hint);
}

void TakeModel(const GroupContext& group, std::string_view bytes, GroupCell& cell) {
  auto model = ReadModel(bytes, group.model->weights, cell.plan, group.threads);
  if (!model) throw Error("what another process sent is not this cell", cell.label);
  cell.quantized = std::move(*model);
}

// On whoever is dealt the cell. The first keeps what it makes itself as it is.
std::string Make(GroupContext& group, GroupCell& cell) {
  const QuantizeTask task = TaskOf(cell);
  const QuantizeCallbacks callbacks{
      .progress = [&](size_t, size_t, std::string_view) { CheckTogether(group); },
      .finished = [&](size_t, QuantizedModel model) { cell.quantized = std::move(model); },
      .failed = {}};
  try {
    QuantizeModels(group.model->config, group.model->weights, {&task, 1}, group.threads, callbacks);
    if (group.workers.IsFirst()) return std::string(1, '\1');
    std::string sent = SentModel(group, cell);
    cell.quantized = {};  // it comes with all others
    return sent;
  } catch (const Interrupted&) {
    throw;
  } catch (const TeamError&) {
    throw;
  } catch (const Error& error) {
    CheckTogether(group);  // an input that has changed here is no failure of the cell
    return std::string(1, '\0') + FailureBytes(error);
  }
}

}  // namespace

void CheckAgreement(Workers& workers, const std::function<Facts()>& facts) {
  if (workers.Alone()) return;
  Facts own;
  StepOfAll(workers, [&] { own = facts(); });
  const std::vector<std::string> all = workers.Collect(BytesOfFacts(own));
  for (size_t rank = 1; rank < all.size(); ++rank) {
    const std::string how = FirstDifference(own, FactsIn(all[rank]));
    if (how.empty()) continue;
    throw TeamError(
        fmt::format("{} would get other scores than rank 0: {}", NameOfRank(workers, rank), how),
        "mpirun", "start all ranks with the same program, inputs and kind of machine");
  }
}

void StepOfAll(Workers& workers, const std::function<void()>& step) {
  if (workers.Alone()) return step();
  std::exception_ptr own;
  std::string failure;
  try {
    step();
  } catch (const Interrupted&) {
    throw;
  } catch (const TeamError&) {
    throw;
  } catch (const Error& error) {
    own = std::current_exception();
    failure = FailureBytes(error);
  }
  const std::vector<std::string> all = workers.Collect(std::move(failure));
  std::string first;
  for (uint64_t rank = 0; rank < all.size() && first.empty(); ++rank) {
    if (all[rank].empty()) continue;
    Put(first, rank);
    first += all[rank];
  }
  first = workers.Broadcast(std::move(first));
  if (own && workers.IsFirst()) std::rethrow_exception(own);
  std::string_view rest = first;
  if (uint64_t rank = 0; Take(rest, rank)) ThrowFailure(workers, rank, rest);
}

Facts PlanFacts(const GroupContext& group, const std::vector<GroupCell>& cells) {
  Facts facts;
  for (const GroupCell& cell : cells) {
    std::string text;
    for (const CalibrationSet* set : {cell.calibration, cell.training, cell.budget_text}) {
      if (set != nullptr) text += set->TokenSha256(set->data.samples.size()) + " ";
    }
    facts[fmt::format("what {} {} is made from", cell.config->name, cell.label)] = text;
    if (cell.candidate != nullptr) facts.merge(CandidateFacts(cell, group.threads));
  }
  return facts;
}

void SharePlan(const GroupContext& group, GroupPlan& plan) {
  std::string bytes;
  for (const GroupCell& cell : plan.cells) Put(bytes, cell.finished);
  for (const Pass& pass : plan.passes) PutList(bytes, pass.front().config->name);
  bytes = group.workers.Broadcast(std::move(bytes));
  if (group.workers.IsFirst()) return;
  std::string_view rest = bytes;
  for (GroupCell& cell : plan.cells) QR_CHECK(Take(rest, cell.finished));
  std::set<std::string> starts;
  for (std::string name; TakeList(rest, name);) starts.insert(name);
  plan.passes = SplitIntoPasses(
      plan.cells, [&](const Pass& pass) { return !starts.contains(pass.back().config->name); });
}

void QuantizeDealt(GroupContext& group, const std::vector<GroupCell*>& all,
                   const std::vector<GroupCell*>& cells,
                   const std::function<void(GroupCell&)>& done,
                   std::vector<const GroupCell*>& failed) {
  std::vector<size_t> units;
  for (size_t i = 0; i < all.size(); ++i) {
    if (std::ranges::count(cells, all[i]) > 0) units.push_back(i);
  }
  ProgressBar bar("quantizing " + Plural(units.size(), "cell"), group.options.quiet, group.eta,
                  RunEta::Kind::kQuantize);
  size_t through = 0;
  group.workers.Deal(
      units, 1, [&](size_t unit, size_t) { return Make(group, *all[unit]); },
      [&](size_t unit, size_t from, std::string_view result) {
        GroupCell& cell = *all[unit];
        try {
          QR_CHECK(!result.empty());
          if (result.front() == '\0') ThrowFailure(group.workers, from, result.substr(1));
          if (from != group.workers.rank()) TakeModel(group, result.substr(1), cell);
          done(cell);
        } catch (const Interrupted&) {
          throw;
        } catch (const Error& error) {
          group.Tolerate(*cell.config, error, cell.label);
          failed.push_back(&cell);
        }
        bar.Update(++through, units.size(), cell.label);
      });
}

std::vector<GroupCell*> TakeTogether(const Workers& workers, std::vector<GroupCell*>& cells) {
  const auto calibrates = [](const GroupCell* cell) { return cell->calibrates; };
  const auto some = std::stable_partition(cells.begin(), cells.end(), std::not_fn(calibrates));
  std::vector<GroupCell*> together(some, cells.end());
  if (together.size() >= workers.size()) return {};
  cells.erase(some, cells.end());
  return together;
}

void BeginTogether(Workers& workers, const std::vector<GroupCell*>& all,
                   const std::vector<GroupCell*>& cells) {
  workers.Dismiss();
  std::string bytes;
  for (const GroupCell* cell : cells)
    Put(bytes, static_cast<uint64_t>(std::ranges::find(all, cell) - all.begin()));
  workers.Broadcast(std::move(bytes));
}

void CheckTogether(const GroupContext& group) {
  ThrowIfCancelled();
  if (group.workers.Alone()) return group.CheckInputs();
  try {
    group.CheckInputs();
  } catch (const Error& error) {
    if (!group.workers.IsFirst()) group.workers.Fail(error.what());
    throw TeamError(error.problem(), error.where(), error.hint());
  }
}

void QuantizeForFirst(GroupContext& group, const std::vector<GroupCell*>& all) {
  group.workers.Deal({}, 1, [&](size_t unit, size_t) { return Make(group, *all.at(unit)); }, {});
  const std::string cells = group.workers.Broadcast({});
  std::vector<QuantizeTask> tasks;
  std::string_view rest = cells;
  for (uint64_t i = 0; Take(rest, i);) tasks.push_back(TaskOf(*all.at(i)));
  RunShare share(group.workers);
  const QuantizeCallbacks callbacks{
      .progress = [&](size_t, size_t, std::string_view) { CheckTogether(group); },
      .finished = [](size_t, const QuantizedModel&) {},  // it comes with all others
      .failed =
          [](size_t, const Error& error) {
            // What keeps a cell from being made the first says, wherever it happened.
            if (dynamic_cast<const TeamError*>(&error) != nullptr) throw;
          }};
  if (!tasks.empty())
    QuantizeModels(group.model->config, group.model->weights, tasks, group.threads, callbacks,
                   &share);
}

void ShareCells(const GroupContext& group, const std::vector<GroupCell*>& all,
                std::vector<const GroupCell*>& failed) {
  if (group.workers.Alone()) return;
  for (GroupCell* cell : all) {
    std::string bytes(1, '\0');
    const bool first = group.workers.IsFirst();
    if (first && std::ranges::count(failed, cell) == 0) bytes = SentModel(group, *cell);
    bytes = group.workers.Broadcast(std::move(bytes));
    if (first) continue;
    QR_CHECK(!bytes.empty());
    if (bytes.front() == '\0') {
      failed.push_back(cell);
      continue;
    }
    TakeModel(group, std::string_view(bytes).substr(1), *cell);
    cell->weights_sha256 = HashQuantized(cell->quantized.weights);
  }
}

}  // namespace quantref
