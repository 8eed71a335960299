#pragma once

#include <cstddef>
#include <vector>

#include "eval/table/table.h"

namespace quantref {

// What the records say to each of the spec's questions, in their order: yes or no of each case,
// with the figure that says so, or that it is open.
//
// A case of two cells is decided by the 95 % interval of their paired difference over windows: yes
// where all of it is on the better side, no where all of it is on the worse, else open, as wherever
// rounding alone may explain a difference of NLLs (HoldsNoDifference). A case of bounds is decided
// by the figure's own interval: yes where it lies within them, no where it lies outside, else open.
// Only quantized cells are asked about, and cells of one model are compared. Error where several
// cells could be meant in one case.
std::vector<TableAnswer> AnswerQuestions(const TableSpec& spec, const TableRecords& records,
                                         size_t threads);

}  // namespace quantref
