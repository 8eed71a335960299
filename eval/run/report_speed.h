#pragma once

#include <string>
#include <vector>

#include "eval/run/record.h"

namespace quantref {

// Speed in the texts that people see: columns for the table of the cells, lines around it.

// The columns, with what stands in each row: one list a cell. Empty where nothing was timed.
struct SpeedColumns {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};
SpeedColumns MakeSpeedColumns(const std::vector<CellResult>& cells);

// Above the table: what the figures were measured on. Empty where nothing was timed.
std::string SpeedHeadline(const std::vector<CellResult>& cells, const Environment& environment);

// Below it: other thread counts, what the columns mean, and a footnote where the machine was busy.
std::string SpeedLegend(const std::vector<CellResult>& cells);

// Why a run failed: the cell, the gap that was expected at most and the one found.
std::string GapMessage(const CellResult& cell);

}  // namespace quantref
