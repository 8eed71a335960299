#pragma once

#include <string>

#include "eval/table/results.h"

namespace quantref {

// The table of results alone, with lines below it that name the columns that there was no room for.
// Of models of random weights: their speed.
struct ShownTable {
  std::string text;
  bool speed_left_out = false;  // speeds were measured, none of their columns is there
};
ShownTable ResultTable(const Results& results, const TableView& view);

}  // namespace quantref
