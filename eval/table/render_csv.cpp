#include <fmt/format.h>

#include "eval/table/render.h"

namespace quantref {
namespace {

std::string Field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

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
                     Field(stamps), Field(stored.id), Field(stored.created),
                     Field(stored.Fact("run")));
}

}  // namespace

std::string CsvTable(const Table& table) {
  std::string text;
  for (const auto* fields : {&table.spec->rows, &table.spec->columns}) {
    for (const TableField& field : *fields) text += Field(field.field) + ",";
  }
  text += "metric,value,low,high,mark,stamps,record,created,run\n";
  for (size_t r = 0; r < table.rows.size(); ++r) {
    for (size_t c = 0; c < table.columns.size(); ++c) {
      if (!table.cells[r][c]) continue;
      for (const auto* values : {&table.rows[r], &table.columns[c].values}) {
        for (const std::string& value : *values) text += Field(value) + ",";
      }
      text += CsvLine(*table.cells[r][c], *table.columns[c].shows) + "\n";
    }
  }
  return text;
}

}  // namespace quantref
