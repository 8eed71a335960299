#pragma once

#include <string>

#include "eval/table/results.h"

namespace quantref {

// The table of results alone, with a line below it that names the columns that there was no room
// for. Of models of random weights: their speed.
std::string ResultTable(const Results& results, const TableView& view);

}  // namespace quantref
