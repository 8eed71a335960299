#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "eval/table/records.h"
#include "eval/table/spec.h"

namespace quantref {

// Which speeds may stand in one line of a table: readers divide what they see there, and machines
// give something else from one hour to the next.

// Two records whose speeds the table's labels do not tell apart although they are of several runs:
// of one model, that were not timed together; or of several models, by several commits. Nothing
// where there are none.
std::optional<std::pair<const TableRecord*, const TableRecord*>> SeveralRuns(
    const TableSpec& spec, const std::vector<const TableRecord*>& records);

// When the quantized cells were timed.
class CellTimings {
 public:
  CellTimings(const TableSpec& spec, const TableRecords& records);

  // Whether the reference took turns with all cells that its speed will stand beside.
  bool AreOf(const TableRecord& reference) const;

 private:
  const TableSpec& spec_;
  std::map<std::string, std::set<std::string>> timings_;  // by what the labels say
};

}  // namespace quantref
