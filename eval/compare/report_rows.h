#pragma once

#include <string>
#include <vector>

#include "eval/compare/cells.h"
#include "eval/compare/model_names.h"
#include "eval/compare/report_table.h"

namespace quantref {

// What all reports of a comparison show, as text in rows, before it has a format.

// Those that have accuracy; `identical`: the same bit for bit.
struct ListedCells {
  ComparedCells changed, identical;
};
ListedCells ListCells(const RecordComparison& comparison);

// Of cells that have accuracy. Columns that have one value for all of them are left out.
ReportTable MakeCellTable(const ComparedCells& cells);

inline constexpr char kCellLegend[] =
    "change of NLL: candidate minus baseline a scored token, paired over windows, with its 95 % "
    "interval";

// The columns verdict, why, cells.
std::vector<std::vector<std::string>> ReasonRows(const RecordComparison& comparison);

// The columns stamp, of ("before", "now", or both), cells.
std::vector<std::vector<std::string>> StampRows(const RecordComparison& comparison);

// The columns what, baseline, candidate, cells: causes first. What changed in too many different
// ways to list them, such as the hashes of every cell's weights, is one row.
std::vector<std::vector<std::string>> ChangeRows(const RecordComparison& comparison);

std::string SetLine(const RecordSet& set);  // "folder: 3 records"

// The model and the protocol that all cells have; where they differ, the table has columns.
std::string SharedLine(const RecordComparison& comparison);

}  // namespace quantref
