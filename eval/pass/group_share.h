#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"
#include "eval/record/reader.h"
#include "eval/team/workers.h"
#include "harness/method/sample_share.h"

namespace quantref {

// What the processes of a run give each other (eval/team/workers.h). Each is called by all of them,
// and does nothing for one that is alone.

// Throws TeamError on the first, with the rank and what differs, where one of them would get other
// scores: where its facts are others. They are looked up where there are several processes.
void CheckAgreement(Workers& workers, const std::function<Facts()>& facts);
// What cells are made from: tokens that they are calibrated and trained on and spend a budget by,
// files of candidates.
Facts PlanFacts(const GroupContext& group, const std::vector<GroupCell>& cells);

// Takes a step that may fail on one alone. Throws on all of them what it threw on the first of them
// where it did; but for a TeamError, which ends the run of all.
void StepOfAll(Workers& workers, const std::function<void()>& step);

// Makes everybody's plan the first's: which cells are finished, what its records say, and which
// passes there are, what its memory says.
void SharePlan(const GroupContext& group, GroupPlan& plan);

// Quantizes these cells of `all`, which are neither trained nor kept, wherever somebody is free:
// each cell is one process's, with all its threads. On the first, where `done` is called for each
// that was made, and those that could not be are added to `failed`; the others have
// QuantizeForFirst.
void QuantizeDealt(GroupContext& group, const std::vector<GroupCell*>& all,
                   const std::vector<GroupCell*>& cells,
                   const std::function<void(GroupCell&)>& done,
                   std::vector<const GroupCell*>& failed);

// Takes out of these cells those that calibrate, where they are fewer than the processes: all of
// these make them together, each on a part of the samples.
std::vector<GroupCell*> TakeTogether(const Workers& workers, std::vector<GroupCell*>& cells);

// By the first, behind QuantizeDealt: the others begin with the cells that are made together.
void BeginTogether(Workers& workers, const std::vector<GroupCell*>& all,
                   const std::vector<GroupCell*>& cells);

// The processes of a run, for QuantizeModels.
class RunShare final : public SampleShare {
 public:
  explicit RunShare(Workers& workers) : workers_(workers) {}
  size_t rank() const override { return workers_.rank(); }
  size_t size() const override { return workers_.size(); }
  void Send(size_t to, std::string bytes) override { workers_.SendTo(to, std::move(bytes)); }
  std::string Receive(size_t from) override { return workers_.ReceiveFrom(from); }
  void TakeStep(const std::function<void()>& step) override { StepOfAll(workers_, step); }

 private:
  Workers& workers_;
};

// Between steps of quantizing. Throws InputChanged where an input has changed; of several processes
// TeamError, since what ends it for one of them ends it for all.
void CheckTogether(const GroupContext& group);

// Of the others: what the first deals out, and what it makes together with them.
void QuantizeForFirst(GroupContext& group, const std::vector<GroupCell*>& all);

// Gives everybody what the first has of the cells, bit for bit, and which of them failed.
void ShareCells(const GroupContext& group, const std::vector<GroupCell*>& all,
                std::vector<const GroupCell*>& failed);

}  // namespace quantref
