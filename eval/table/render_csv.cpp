#include <fmt/format.h>

#include "eval/support/markup.h"
#include "eval/table/render.h"

namespace quantref {
namespace {

std::string CsvNumber(const std::optional<double>& value) {
  return value ? fmt::format("{}", *value) : "";
}

const char* MarkName(CellMark mark) {
  if (mark == CellMark::kBest) return "best";
  return mark == CellMark::kTied ? "tied" : "";
}

std::string CsvLine(const TableCell& cell, const TableValue& shows) {
  std::string stamps;
  for (const Stamp& stamp : cell.stamps) stamps += (stamps.empty() ? "" : "; ") + stamp.text;
  const StoredRecord& stored = cell.record->stored;
  return fmt::format("{},{},{},{},{},{},{},{},{}", shows.metric->name, CsvNumber(cell.number.value),
                     CsvNumber(cell.number.low), CsvNumber(cell.number.high), MarkName(cell.mark),
                     CsvText(stamps), CsvText(stored.id), CsvText(stored.created),
                     CsvText(stored.Fact("run")));
}

}  // namespace

std::string CsvTable(const Table& table) {
  std::string text;
  for (const auto* fields : {&table.spec->rows, &table.spec->columns}) {
    for (const TableField& field : *fields) text += CsvText(field.field) + ",";
  }
  text += "metric,value,low,high,mark,stamps,record,created,run\n";
  for (size_t r = 0; r < table.rows.size(); ++r) {
    for (size_t c = 0; c < table.columns.size(); ++c) {
      if (!table.cells[r][c]) continue;
      for (const auto* values : {&table.rows[r], &table.columns[c].values}) {
        for (const std::string& value : *values) text += CsvText(value) + ",";
      }
      text += CsvLine(*table.cells[r][c], *table.columns[c].shows) + "\n";
    }
  }
  return text;
}

}  // namespace quantref
