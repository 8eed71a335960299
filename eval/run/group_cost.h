#pragma once

#include <optional>
#include <span>
#include <vector>

#include "eval/cost/cost.h"
#include "eval/cost/memory_limits.h"
#include "eval/cost/rates.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"

namespace quantref {

// What its cells are, to be priced; in their order, without the references. They refer to the pass.
std::vector<CellLoad> LoadsOf(const Pass& pass);

// What a pass takes beyond LoadedBytes.
MemoryNeed NeedOf(const GroupContext& group, const Pass& pass);

// Prices a group's passes by rates that are measured when the first is asked for.
class GroupCost {
 public:
  explicit GroupCost(const GroupContext& group) : group_(group) {}

  // Without loading.
  Cost Of(const Pass& pass);
  // Seconds of what the passes' budgets are spent by.
  double Sensitivities(std::span<const Pass> passes);

  // Tells the run's end what the passes' stages are expected to take, in their order. Returns what
  // all of them cost.
  Cost PlanEta(std::span<const Pass> passes);

 private:
  Rates& OwnRates();

  const GroupContext& group_;
  std::optional<Rates> rates_;
};

}  // namespace quantref
