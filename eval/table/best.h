#pragma once

#include <cstddef>

#include "eval/table/table.h"

namespace quantref {

// Refuses lines of the table that mix what cannot be compared, and marks the best cells of the
// others. `threads` changes no result.
void MarkBest(Table& table, size_t threads);

// Why cells that are in doubt are not compared.
inline constexpr char kInDoubt[] = "numbers are in doubt";

double BitsAWeight(const TableRecord& record);  // effective_bits; 0 where there are none

// Whether `a` stores clearly more than `b`, as matrices do that are kept.
bool HasMoreBits(const TableRecord& a, const TableRecord& b);

}  // namespace quantref
