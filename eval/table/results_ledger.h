#pragma once

#include <string>

#include "eval/table/results.h"

namespace quantref {

// Where the changes of the cells come from: of each that has a ledger the parts that its steps add,
// then its blocks and its kinds of matrices, those first that do most alone. "" where none has.
std::string LedgersText(const Results& results, const TableView& view);

}  // namespace quantref
