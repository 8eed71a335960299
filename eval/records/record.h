#pragma once

#include <span>

#include "eval/facts/group_result.h"
#include "eval/record/store.h"
#include "eval/table/results.h"

namespace quantref {

// What was measured, as a record. Every aggregate follows from the samples beside it; what was not
// measured is absent.
Record MakeRecord(const GroupResult& group, const CellResult& cell);

// As their table shows them.
Results ResultsOf(std::span<const Record> records);

}  // namespace quantref
