#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/table/cells.h"

namespace quantref {

// Tables as text. Same table, same bytes: nothing here knows the time or the place.

// width: of the lines of text, where they have one; other formats ask for none.
std::string TableAs(const Table& table, TableFormat format,
                    std::optional<size_t> width = std::nullopt);

std::string LatexTable(const Table& table);     // a table environment, for \input
std::string MarkdownTable(const Table& table);  // GitHub's
std::string CsvTable(const Table& table);       // a line a cell, values in full
// A <figure>, to stand in a page. Row fields and headers that are the same everywhere are said in
// the caption. record_links: cells lead to RecordAnchor() of their records.
std::string HtmlTable(const Table& table, bool record_links = false);
std::string HtmlPage(const Table& table);  // self-contained
// For a terminal: as many columns as fit, the caption below.
std::string TextTable(const Table& table, std::optional<size_t> width);

// What must be said with the table: sentences, without markup. What nobody may overlook (the title,
// the spec's note, what stamps mean), then all else.
struct CaptionParts {
  std::vector<std::string> caption, note;
};
// bold: how the best is marked.
CaptionParts TableCaptionParts(const Table& table, const std::string& bold = "bold");
std::vector<std::string> TableCaption(const Table& table,
                                      const std::string& bold = "bold");  // both
// What the records say to the spec's questions, a line each: "Is it? Yes (KL × 0.52 [0.50, 0.54])."
std::vector<std::string> TableAnswers(const Table& table);

// A cell's number as the spec wants it.
NumberText CellNumber(const TableCell& cell, const TableValue& shows);

std::string StampLetters(const TableCell& cell);  // "CP"

// The header's lines: the column fields' labels, then the metrics, each with the number of columns
// it spans.
struct HeaderSpan {
  std::string text;
  size_t columns;
};
std::vector<std::vector<HeaderSpan>> TableHeader(const Table& table);

// A name a column, for formats with one line of headers: the upper ones stand before each.
std::vector<std::string> ColumnNames(const Table& table);

// The row's labels; what is equal to the row above, and everything left of it, is "". `fresh` is
// true where a group of the first field begins that has a field after it.
struct RowHead {
  std::vector<std::string> labels;
  bool fresh = false;
};
RowHead TableRowHead(const Table& table, size_t row);

// The records that a row shows, each once, in the columns' order.
std::vector<const TableRecord*> RecordsOfRow(const Table& table, size_t row);

}  // namespace quantref
