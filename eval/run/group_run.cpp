#include "eval/run/group_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <string>

#include "eval/candidate/candidate.h"
#include "eval/facts/texts.h"
#include "eval/inputs/replaced.h"
#include "eval/ledger/block_ledger.h"
#include "eval/pass/group_score.h"
#include "eval/pass/group_share.h"
#include "eval/pass/score_facts.h"
#include "eval/run/export_cells.h"
#include "eval/run/group_budget.h"
#include "eval/run/group_quantize.h"
#include "eval/run/group_summary.h"
#include "eval/run/kept_cells.h"
#include "eval/speed/speed.h"
#include "eval/stats/stats.h"
#include "eval/support/interrupt.h"
#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "eval/support/text_table.h"
#include "eval/table/results.h"
#include "eval/table/results_ledger.h"
#include "harness/base/cancel.h"
#include "harness/base/clock.h"
#include "harness/io/json_reader.h"

namespace quantref {
namespace {

// What an interrupt behind them says.
constexpr const char* kRecordsStand = "the records stand";

// The pass's cells in the order of their work. The reference is measured once for all configs.
void AddRows(const Pass& pass, const Cost& cost, const std::string& when,
             std::vector<PlanRow>& rows) {
  size_t quantized = 0;
  for (const GroupCell& cell : pass) {
    PlanRow row{cell.config->name, cell.label, {}, when};
    if (cell.candidate == nullptr) row.plan = cell.plan;
    const Cost::Cell& seconds = cost.cells[cell.spec == nullptr ? 0 : ++quantized];
    row.quantize_seconds = seconds.quantize;
    if (cell.spec != nullptr || &cell == &pass.front()) row.seconds = seconds.measure;
    rows.push_back(std::move(row));
  }
}

// Returns the seconds that it takes.
double MeasureSpeed(const GroupContext& group, Pass& cells) {
  static const ThroughputSpec nothing{.measure = false};
  const Clock::time_point start = Clock::now();
  std::vector<SpeedCell> timed;
  for (const GroupCell& cell : cells) {
    timed.push_back({fmt::format("{} {}", cell.config->name, cell.label),
                     cell.spec == nullptr ? nullptr : &cell.quantized.weights,
                     IsTimed(cell) ? &cell.config->throughput : &nothing, &cell.shape});
  }
  const auto speeds = MeasureSpeeds(group.model->config, &group.model->weights, timed,
                                    group.threads, group.options.quiet, group.eta);
  for (size_t i = 0; i < cells.size(); ++i) cells[i].speed = speeds[i];
  return Since(start);
}

// What an interrupted run has recorded already stays as it is. All are of the cells that are
// recorded, in their order.
std::vector<Record> Unrecorded(const Pass& cells, const std::vector<Record>& all) {
  std::vector<Record> records;
  auto record = all.begin();
  for (const GroupCell& cell : cells) {
    if (!cell.Recorded()) continue;
    if (!cell.Stands()) records.push_back(*record);
    ++record;
  }
  return records;
}

std::vector<StoredRecord> AsStored(const std::vector<Record>& records) {
  std::vector<StoredRecord> stored;
  for (const Record& record : records) {
    const JsonDocument document = JsonDocument::Parse(record.json, record.file_name);
    stored.push_back(ReadRecord(document.root(), record.file_name));
  }
  return stored;
}

// Of the windows, to say anything of those that were not measured.
bool TooFew(const GroupResult& group) {
  return MeasuredIndices(group).size() < std::min(kMinBlocks, group.windows.size());
}

}  // namespace

GroupRun::GroupRun(const RunOptions& options, std::vector<const RunConfig*> configs, size_t threads,
                   ModelLoader& models, RunEta& eta, ShardWork& shards, Workers& workers)
    : group_{.options = options,
             .configs = std::move(configs),
             .threads = threads,
             .eta = eta,
             .shards = shards,
             .workers = workers},
      models_(models) {}

void GroupRun::Prepare() {
  const Clock::time_point start = Clock::now();
  StepOfAll(group_.workers, [&] {
    LoadInputs(models_, group_);
    if (group_.workers.IsFirst()) ledger_texts_.emplace(group_);
  });
  CheckAgreement(group_.workers, [&] { return ScoreFacts(group_, {}); });
  StepOfAll(group_.workers, [&] { plan_ = PlanGroup(group_); });
  CheckAgreement(group_.workers, [&] { return PlanFacts(group_, plan_.cells); });
  SharePlan(group_, plan_);
  group_.load_seconds = Since(start);
}

Cost GroupRun::PrintPlan() {
  std::vector<PlanRow> rows;
  for (const GroupCell& cell : plan_.cells) {
    if (cell.finished) rows.push_back({cell.config->name, cell.label, cell.plan, "finished"});
  }
  Cost total;
  if (!plan_.passes.empty()) total.load_seconds = group_.load_seconds;
  total.sensitivity_seconds = cost_.Sensitivities(plan_.passes);
  for (size_t p = 0; p < plan_.passes.size(); ++p) {
    const Cost cost = cost_.Of(plan_.passes[p]);
    AddRows(plan_.passes[p], cost, fmt::format("pass {}", p + 1), rows);
    total.Add(cost);
  }
  ThrowIfCancelled();
  PrintWhole(Wrapped(PlanText(Describe(group_, {}), rows, total), LineWidth(STDOUT_FILENO)) +
             FinishedText(plan_.cells, group_.options.out.string()));
  return total;
}

std::vector<Record> GroupRun::Run() {
  const RunOptions& options = group_.options;
  if (group_.workers.IsFirst()) RemoveLeftBehind(group_, plan_.cells);
  if (!options.quiet) {
    SayText(FinishedText(plan_.cells, options.out.string()));
    SayText(LeftBehindText(group_, plan_.cells));
    SayText(UnexportedText(group_, plan_.cells));
    SayExpected();
  }
  SpendBudgets(group_, plan_.passes);
  std::vector<Record> records;
  for (Pass& pass : plan_.passes) {
    std::vector<Record> made = RunPass(pass);
    std::move(made.begin(), made.end(), std::back_inserter(records));
    pass.clear();  // the memory is the next pass's
    if (interrupted_) break;
    group_.workers.WaitForFirst();
  }
  return records;
}

// What all of it will take, with what it has taken until it was known.
void GroupRun::SayExpected() {
  Cost cost = cost_.PlanEta(plan_.passes);
  if (plan_.passes.empty()) return;
  cost.load_seconds = group_.load_seconds;
  SayText(Wrapped(CostText("expected", cost), LineWidth(STDERR_FILENO)));
}

std::vector<Record> GroupRun::RunPass(Pass& cells) {
  try {
    return MeasurePass(cells);
  } catch (const Error&) {
    // A file that changed is why, whatever came of it.
    if (!CancelRequested()) group_.CheckInputs();
    throw;
  }
}

std::vector<Record> GroupRun::MeasurePass(Pass& cells) {
  FirstLook look;
  try {
    QuantizeCells(group_, cells, look);
    CheckAgreement(group_.workers, [&] { return ScoreFacts(group_, cells); });
    ExportCells(group_, cells);
  } catch (const Interrupted&) {
    if (look.measurement.scores.empty()) throw;
    return KeepWhatThereIs(Describe(group_, std::move(look.measurement)), look.cells);
  }
  const auto recorded = [](const GroupCell& cell) { return cell.Recorded(); };
  if (std::none_of(cells.begin(), cells.end(), recorded)) return {};  // none could be made
  if (!group_.workers.IsFirst()) {
    ScoreForFirst(group_, cells);
    return {};
  }
  std::optional<InterruptNote> note(std::in_place,
                                    "finished windows are kept: go on with --resume");
  const MoreGrace grace;
  GroupResult shared = Describe(group_, ScoreCells(group_, cells));
  if (group_.shards.part) {
    EndPart(shared.measurement, cells);
    return {};
  }
  if (!shared.measurement.interrupted) MeasureRest(shared, cells);
  try {
    if (!shared.measurement.interrupted) {
      std::vector<Record> records = KeepResults(shared, cells);
      note.emplace(kRecordsStand);  // until all that was measured is put away
      return records;
    }
  } catch (const Interrupted&) {
  }
  if (TooFew(shared) && look.taken)
    return KeepWhatThereIs(Describe(group_, std::move(look.measurement)), look.cells);
  return KeepWhatThereIs(shared, cells);
}

// The rest is the work of who merges the parts.
void GroupRun::EndPart(const Measurement& measurement, const Pass& cells) {
  interrupted_ = measurement.interrupted;
  if (interrupted_) return;
  group_.CheckInputs();
  AddGroup(group_, cells, group_.shards);
}

// What comes behind the windows.
void GroupRun::MeasureRest(GroupResult& shared, Pass& cells) const {
  try {
    MeasureGaps(group_, shared.measurement.first_window, cells);
    shared.ledgers = MeasureBlocks(group_, *ledger_texts_, cells);
    shared.measurement.interrupted = WasInterrupted(shared.ledgers);
    if (shared.measurement.interrupted) return;
    ShowAccuracy(shared, cells);
    shared.throughput_seconds = MeasureSpeed(group_, cells);
  } catch (const Interrupted&) {
    shared.measurement.interrupted = true;
  }
}

// Before the stopwatch begins, which may take its time.
void GroupRun::ShowAccuracy(const GroupResult& shared, const Pass& cells) const {
  const RunOptions& options = group_.options;
  const bool timed = std::any_of(cells.begin(), cells.end(), [](const GroupCell& cell) {
    return cell.config->throughput.measure;
  });
  if (!timed || options.quiet) return;
  const TableView view{LineWidth(STDERR_FILENO), options.columns};
  std::vector<Record> records;
  for (const CellResult& result : Summarize(group_, shared, cells))
    records.push_back(MakeRecord(shared, result));
  SayText(ResultText(ResultsOf(records), view) +
          "\nthroughput comes next, and the table with it\n");
}

std::vector<Record> GroupRun::KeepResults(const GroupResult& shared, const Pass& cells) {
  const std::vector<CellResult> results = Summarize(group_, shared, cells);
  group_.CheckInputs();
  std::vector<Record> all;
  for (const CellResult& result : results) all.push_back(MakeRecord(shared, result));
  const std::vector<Record> records = Unrecorded(cells, all);
  const std::vector<StoredRecord> stored = AsStored(all);  // while an interrupt may end this
  KeepRecords(records, group_.options.out, group_.options.quiet);
  const InterruptNote note(kRecordsStand);
  const auto conclude = [&] {
    PutAway(shared.measurement, cells, stored);
    if (!shared.measurement.interrupted) RemoveJournals(shared.ledgers);
    PrintTables(all);
  };
  try {
    conclude();
  } catch (const Interrupted&) {  // the records stand: making them again would double them
    interrupted_ = true;
    const LastWork last;
    conclude();
  }
  CheckGaps(results);
  return records;
}

// What is not needed any more once these records stand.
void GroupRun::PutAway(const Measurement& measurement, const Pass& cells,
                       std::span<const StoredRecord> records) const {
  if (measurement.other_windows > 0) {
    if (!group_.options.quiet)
      Say("{} of a run of more windows stay in its journal: --resume with as many goes on with "
          "them\n",
          Plural(measurement.other_windows, "window"));
    return;
  }
  RemoveInterrupted(group_.options.out, [&](const StoredRecord& interrupted) {
    return std::ranges::any_of(
        records, [&](const StoredRecord& record) { return Replaces(record, interrupted); });
  });
  if (measurement.interrupted) return;
  measurement.journal->Remove();
  RemoveKept(group_, cells);
  RemoveKeptBudgets(group_, cells, plan_.passes);
}

// A signal has interrupted it.
std::vector<Record> GroupRun::KeepWhatThereIs(const GroupResult& shared, const Pass& cells) {
  const LastWork last;
  interrupted_ = true;
  if (TooFew(shared)) {
    Say("{} finished: no records are made of fewer than {}, which give no interval\n",
        Plural(MeasuredIndices(shared).size(), "window"), kMinBlocks);
    return {};
  }
  try {
    return KeepResults(shared, cells);
  } catch (const Error& error) {
    Say("no records of what was measured: {}\n", error.what());
    return {};
  }
}

void GroupRun::PrintTables(const std::vector<Record>& records) const {
  const RunOptions& options = group_.options;
  if (options.quiet || options.json) return;
  const TableView view{LineWidth(STDOUT_FILENO), options.columns};
  const Results results = ResultsOf(records);
  const std::string layers = options.layers ? LayersText(results, view) : "";
  PrintWhole(layers + ResultText(results, view) + LedgersText(results, view));
}

// A gate, not an error: the records show what was found.
void GroupRun::CheckGaps(const std::vector<CellResult>& cells) {
  for (const CellResult& cell : cells) {
    if (!cell.GapTooWide()) continue;
    gate_failed_ = true;
    SayText(GapMessage(cell));
  }
}

}  // namespace quantref
