#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "eval/table/records.h"
#include "eval/table/spec.h"

namespace quantref {

// What a table is once it is made: rows and columns, and what stands where they meet.

enum class CellMark {
  kNone,
  kBest,  // better than every other cell that it is compared with
  kTied,  // the best, or not distinguishable from it, where there are several
};

struct TableCell {
  const TableRecord* record;
  Figure number;                      // of absolute speeds with the quartiles
  const SpeedPoint* point = nullptr;  // of speeds
  // As the column shows it wherever its spec says ±: brackets where one of its intervals is
  // lopsided.
  UncertaintyStyle uncertainty = UncertaintyStyle::kPlusMinus;
  std::vector<Stamp> stamps{};
  CellMark mark = CellMark::kNone;
  bool first = false;  // of those that are tied, the one whose value is the best
};

struct TableColumn {
  std::vector<std::string> values;  // of the spec's column fields
  const TableValue* shows;
};

// A question of the spec, and what the records say to it.
struct TableAnswer {
  std::string ask, text;
};

struct Table {
  const TableSpec* spec;
  std::vector<std::vector<std::string>> rows;  // values of the spec's row fields
  std::vector<TableColumn> columns;
  std::vector<std::vector<std::optional<TableCell>>> cells;  // [row][column]; nothing: not measured
  std::set<std::string> unmarked{};  // why the best was not looked for, somewhere
  // Of the best among what is to be of one width, though it has clearly more bits than others
  // there.
  std::set<std::string> more_bits{};
  std::vector<TableAnswer> answers{};
};

}  // namespace quantref
