#pragma once

#include <cstddef>

#include "eval/table/table.h"

namespace quantref {

// Refuses lines of the table that mix what cannot be compared, and marks the best cells of the
// others. `threads` changes no result.
void MarkBest(Table& table, size_t threads);

}  // namespace quantref
