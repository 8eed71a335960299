#include <algorithm>

#include "eval/support/figure_text.h"
#include "eval/table/render.h"

namespace quantref {
namespace {

// True where the columns from `a` to `b` share the values of the first `fields` + 1 fields.
bool SameSpan(const Table& table, size_t a, size_t b, size_t fields) {
  const auto& x = table.columns[a].values;
  const auto& y = table.columns[b].values;
  const auto end = static_cast<std::ptrdiff_t>(fields) + 1;
  return std::equal(x.begin(), x.begin() + end, y.begin());
}

}  // namespace

NumberText CellNumber(const TableCell& cell, const TableValue& shows) {
  const TableMetric& metric = *shows.metric;
  const size_t digits = metric.IsSpeed() ? metric.digits : DigitsOf(cell.number, metric.digits);
  return NumberTextOf(cell.number, shows.digits.value_or(digits), metric.is_signed,
                      cell.uncertainty);
}

std::string StampLetters(const TableCell& cell) {
  std::string letters;
  for (const Stamp& stamp : cell.stamps) {
    if (letters.find(stamp.letter) == std::string::npos) letters += stamp.letter;
  }
  return letters;
}

std::vector<std::vector<HeaderSpan>> TableHeader(const Table& table) {
  std::vector<std::vector<HeaderSpan>> lines;
  for (size_t f = 0; f < table.spec->columns.size(); ++f) {
    std::vector<HeaderSpan>& line = lines.emplace_back();
    for (size_t c = 0; c < table.columns.size(); ++c) {
      if (c > 0 && SameSpan(table, c - 1, c, f)) {
        ++line.back().columns;
      } else {
        line.push_back({table.spec->columns[f].Label(table.columns[c].values[f]), 1});
      }
    }
  }
  std::vector<HeaderSpan>& line = lines.emplace_back();
  for (const TableColumn& column : table.columns) line.push_back({column.shows->header, 1});
  return lines;
}

std::vector<std::string> ColumnNames(const Table& table) {
  std::vector<std::string> names(table.columns.size());
  for (const auto& line : TableHeader(table)) {
    size_t column = 0;
    for (const HeaderSpan& span : line) {
      for (size_t i = 0; i < span.columns; ++i, ++column)
        names[column] += (names[column].empty() ? "" : " ") + span.text;
    }
  }
  return names;
}

RowHead TableRowHead(const Table& table, size_t row) {
  RowHead head;
  const std::vector<TableField>& fields = table.spec->rows;
  bool same = row > 0;
  for (size_t f = 0; f < fields.size(); ++f) {
    const std::string& value = table.rows[row][f];
    same = same && value == table.rows[row - 1][f] && f + 1 < fields.size();
    head.labels.push_back(same ? "" : fields[f].Label(value));
    if (f == 0) head.fresh = row > 0 && !same && fields.size() > 1;
  }
  return head;
}

std::vector<const TableRecord*> RecordsOfRow(const Table& table, size_t row) {
  std::vector<const TableRecord*> records;
  for (const auto& cell : table.cells[row]) {
    if (cell && std::find(records.begin(), records.end(), cell->record) == records.end())
      records.push_back(cell->record);
  }
  return records;
}

std::string TableAs(const Table& table, TableFormat format, std::optional<size_t> width) {
  switch (format) {
    case TableFormat::kLatex:
      return LatexTable(table);
    case TableFormat::kMarkdown:
      return MarkdownTable(table);
    case TableFormat::kCsv:
      return CsvTable(table);
    case TableFormat::kHtml:
      return HtmlPage(table);
    case TableFormat::kText:
      return TextTable(table, width);
  }
  return "";
}

}  // namespace quantref
