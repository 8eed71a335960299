#include <fmt/format.h>
#include <fmt/ranges.h>

#include "eval/support/text_table.h"
#include "eval/table/render.h"

namespace quantref {
namespace {

// How the best is marked.
constexpr const char* kBest = "best";

std::string Marked(std::string text, const TableCell& cell) {
  if (cell.mark == CellMark::kBest) text += std::string(" ") + kBest;
  if (cell.mark == CellMark::kTied) text += " †";
  const std::string letters = StampLetters(cell);
  return letters.empty() ? text : fmt::format("{} ({})", text, letters);
}

// What tells the rows apart is needed; of the figures the right ones are left out first, and before
// that intervals.
std::vector<TextColumn> Columns(const Table& table) {
  std::vector<TextColumn> columns;
  for (const TableField& field : table.spec->rows)
    columns.push_back({.name = field.name, .header = field.name, .left = true});
  const std::vector<std::string> names = ColumnNames(table);
  for (const std::string& name : names) {
    columns.push_back({.name = name, .header = name, .worth = 50});
    columns.back().brief_cells.emplace();
  }
  const size_t heads = table.spec->rows.size();
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const std::vector<std::string> labels = TableRowHead(table, r).labels;
    for (size_t f = 0; f < heads; ++f) columns[f].cells.push_back(labels[f]);
    for (size_t c = 0; c < names.size(); ++c) {
      TextColumn& column = columns[heads + c];
      const std::optional<TableCell>& cell = table.cells[r][c];
      const NumberText number = cell ? CellNumber(*cell, *table.columns[c].shows) : NumberText{"-"};
      const auto text = [&](const std::string& figure) {
        return cell ? Marked(figure, *cell) : figure;
      };
      column.cells.push_back(text(NumberWithInterval(number)));
      column.brief_cells->push_back(text(number.value));
    }
  }
  return columns;
}

}  // namespace

std::string TextTable(const Table& table, std::optional<size_t> width) {
  const FittedTable fitted = FitTable(Columns(table), width);
  std::string caption;
  if (!fitted.left_out.empty()) {
    caption +=
        fmt::format("left out, for lines of {}: {}\n", *width, fmt::join(fitted.left_out, ", "));
  }
  for (const std::string& answer : TableAnswers(table)) caption += answer + "\n";
  for (const std::string& sentence : TableCaption(table, kBest)) caption += sentence + "\n";
  return Printable(fitted.text + "\n" + Wrapped(caption, width));
}

}  // namespace quantref
