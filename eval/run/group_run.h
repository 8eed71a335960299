#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/cost/cost.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/options.h"
#include "eval/inputs/run_inputs.h"
#include "eval/ledger/ledger_texts.h"
#include "eval/pass/shard_work.h"
#include "eval/records/record.h"
#include "eval/run/group_cost.h"
#include "eval/run/group_plan.h"
#include "eval/support/run_eta.h"

namespace quantref {

// Configs that share model, text, protocol and stop rule, from loading to records: their cells are
// measured together, in one pass of the reference; or where memory does not hold so many, in
// several. Of studies (RunConfig::study) cells whose records stand already are left out, and a cell
// that cannot be made is reported on stderr and does not keep the others from being measured.
class GroupRun {
 public:
  GroupRun(const RunOptions& options, std::vector<const RunConfig*> configs, size_t threads,
           ModelLoader& models, RunEta& eta, ShardWork& shards, Workers& workers);

  // Loads, and checks all that can be wrong before anything long begins.
  void Prepare();

  Cost PrintPlan();  // and what all of it costs

  // Quantizes, measures, writes the records and prints the tables. Interrupted while it measures it
  // does so with what there is, keeps the journal, and leaves out what else was to come. A shard
  // makes no records, nor does a process beside the first.
  std::vector<Record> Run();
  bool interrupted() const { return interrupted_; }

  // Whether the kernels gave other logits than they may somewhere.
  bool gate_failed() const { return gate_failed_; }
  size_t failed_cells() const { return group_.failed_cells; }  // of studies, that were not made
  size_t failed_exports() const { return group_.failed_exports; }

 private:
  void SayExpected();
  std::vector<Record> RunPass(Pass& cells);
  std::vector<Record> MeasurePass(Pass& cells);
  void EndPart(const Measurement& measurement, const Pass& cells);
  void MeasureRest(GroupResult& shared, Pass& cells) const;
  void ShowAccuracy(const GroupResult& shared, const Pass& cells) const;
  std::vector<Record> KeepResults(const GroupResult& shared, const Pass& cells);
  void PutAway(const Measurement& measurement, const Pass& cells,
               std::span<const StoredRecord> records) const;
  std::vector<Record> KeepWhatThereIs(const GroupResult& shared, const Pass& cells);
  void PrintTables(const std::vector<Record>& records) const;
  void CheckGaps(const std::vector<CellResult>& cells);

  GroupContext group_;
  ModelLoader& models_;
  GroupPlan plan_;
  GroupCost cost_{group_};
  std::optional<LedgerTexts> ledger_texts_;  // once it is prepared
  bool gate_failed_ = false, interrupted_ = false;
};

}  // namespace quantref
