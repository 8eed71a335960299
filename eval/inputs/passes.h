#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/inputs/finished.h"
#include "eval/inputs/group_cell.h"

namespace quantref {

// Which cells of a group are measured, and which of them together.

// Cells that are measured together.
using Pass = std::vector<GroupCell>;

// Which cells a group has, and in which passes they are measured.
struct GroupPlan {
  std::vector<GroupCell> cells;  // those that are finished too
  std::vector<Pass> passes;
};

// Marks the cells of studies whose records stand already as finished, the others with why they do
// not; in a run that is resumed, which goes on with all or nothing, those of other configs too,
// where the records of all of these stand. `sought` is what a cell's record would be. The seeds of
// a method are done all or none: each one's record has the spread over all.
void MarkFinished(const FinishedCells& finished, bool resumed,
                  const std::function<SoughtCell(const GroupCell&)>& sought,
                  std::vector<GroupCell>& cells);

// What is not finished, with the reference of each of these configs, in passes that fit: config
// after config, as many a pass as `fits` lets be. A config that does not fit by itself is a pass
// all the same. Configs with nothing to record are left out.
std::vector<Pass> SplitIntoPasses(const std::vector<GroupCell>& cells,
                                  const std::function<bool(const Pass&)>& fits);

// What is said of the cells that are not measured, and of a study's records that do not count; ""
// where there are neither. `folder`: of the records.
std::string FinishedText(const std::vector<GroupCell>& cells, std::string_view folder);

}  // namespace quantref
