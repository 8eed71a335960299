#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/compare/cells.h"
#include "eval/report/records.h"

namespace quantref {

// What a report says first, as items of lists.

// What failed: cells that are worse than the baseline, gone, or cannot be compared with it, and
// gates. "" where nothing did.
std::string FailuresHtml(const std::vector<PageRecord>& records,
                         const std::optional<RecordComparison>& comparison);

// Of each scheme which methods change PPL least, as far as the paired intervals tell. "" where none
// was compared with a reference.
std::string FindingsHtml(const std::vector<PageRecord>& records, size_t threads);

}  // namespace quantref
