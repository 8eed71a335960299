#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "eval/support/html_table.h"
#include "eval/support/markup.h"
#include "eval/table/render.h"

namespace quantref {
namespace {

constexpr const char* kStyle =
    "body{font:16px/1.45 system-ui,sans-serif;margin:2rem;color:#111;background:#fff}"
    "figure{margin:0}.scroll{overflow-x:auto}figcaption{max-width:60rem;margin-top:1rem}"
    "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}"
    "th,td{padding:.25rem .75rem;text-align:right;white-space:nowrap}"
    "th[scope=row],th.head{text-align:left;font-weight:normal}"
    "th[scope=colgroup]{text-align:center}thead{border-bottom:1px solid}"
    "tr.fresh{border-top:1px solid}.repeat{opacity:0}";

std::string Cell(const std::optional<TableCell>& cell, const TableValue& shows, bool record_link) {
  if (!cell) return "<td>-</td>";
  std::string text = NumberWithInterval(CellNumber(*cell, shows));
  if (cell->mark == CellMark::kBest) text = "<b>" + text + "</b>";
  const std::string& id = cell->record->stored.id;
  if (record_link) text = fmt::format("<a href=\"#{}\">{}</a>", RecordAnchor(id), text);
  if (cell->mark == CellMark::kTied) text += "&nbsp;†";
  const std::string letters = StampLetters(*cell);
  if (!letters.empty()) text += "<sup>" + letters + "</sup>";
  std::string title = "record " + id + ", " + cell->record->stored.created;
  for (const Stamp& stamp : cell->stamps) title += "; " + stamp.text;
  return fmt::format("<td title=\"{}\" data-value=\"{}\">{}</td>", MarkupText(title),
                     SortValue(cell->number.value), text);
}

// What is the same in all rows, or over all columns, need not stand in each.
struct Layout {
  std::vector<size_t> fields;  // of the rows, that tell them apart; one at least
  std::vector<std::vector<HeaderSpan>> header;
  std::vector<std::string> constant{};  // "Model wikilm-28m"
};

Layout LayoutOf(const Table& table) {
  Layout layout;
  const size_t fields = table.spec->rows.size();
  for (size_t f = 0; f < fields; ++f) {
    const TableField& field = table.spec->rows[f];
    const bool same = std::all_of(table.rows.begin(), table.rows.end(),
                                  [&](const auto& row) { return row[f] == table.rows[0][f]; });
    const bool last_chance = f + 1 == fields && layout.fields.empty();
    if (!same || last_chance) {
      layout.fields.push_back(f);
    } else {
      layout.constant.push_back(field.name + " " + field.Label(table.rows[0][f]));
    }
  }
  std::vector<std::vector<HeaderSpan>> lines = TableHeader(table);
  for (auto& line : lines) {
    if (line.size() > 1 || &line == &lines.back()) {
      layout.header.push_back(std::move(line));
    } else {
      layout.constant.push_back(line[0].text);
    }
  }
  return layout;
}

// What repeats the row above is there, but not seen: rows that are sorted need it.
std::string RowLabel(const std::string& label, bool same) {
  return fmt::format("<th scope=\"row\"{}>{}</th>", same ? " class=\"repeat\"" : "",
                     MarkupText(label));
}

std::string Header(const Table& table, const Layout& layout) {
  std::string text = "<thead>\n";
  for (const auto& line : layout.header) {
    text += "<tr>";
    for (const size_t f : layout.fields) {
      if (&line == layout.header.data())
        text += fmt::format("<th class=\"head\" rowspan=\"{}\">{}</th>", layout.header.size(),
                            MarkupText(table.spec->rows[f].name));
    }
    for (const HeaderSpan& span : line) {
      text += span.columns > 1 ? fmt::format("<th scope=\"colgroup\" colspan=\"{}\">", span.columns)
                               : "<th scope=\"col\">";
      text += MarkupText(span.text) + "</th>";
    }
    text += "</tr>\n";
  }
  return text + "</thead>\n";
}

std::string Row(const Table& table, const Layout& layout, size_t row, bool record_links) {
  const RowHead head = TableRowHead(table, row);
  const size_t first = layout.fields[0];
  const bool fresh =
      row > 0 && layout.fields.size() > 1 && table.rows[row][first] != table.rows[row - 1][first];
  std::string text = fresh ? "<tr class=\"fresh\">" : "<tr>";
  for (const size_t f : layout.fields)
    text += RowLabel(table.spec->rows[f].Label(table.rows[row][f]), head.labels[f].empty());
  for (size_t c = 0; c < table.columns.size(); ++c)
    text += Cell(table.cells[row][c], *table.columns[c].shows, record_links);
  return text + "</tr>\n";
}

std::string Caption(const Table& table, const Layout& layout) {
  const CaptionParts parts = TableCaptionParts(table);
  std::string text = "<b>" + MarkupText(parts.caption[0]) + "</b>";
  const auto add = [&](const std::string& sentence) { text += "\n" + MarkupText(sentence); };
  for (size_t i = 1; i < parts.caption.size(); ++i) add(parts.caption[i]);
  if (!layout.constant.empty())
    add(fmt::format("Of all figures: {}.", fmt::join(layout.constant, ", ")));
  for (const std::string& answer : TableAnswers(table)) add(answer);
  for (const std::string& sentence : parts.note) add(sentence);
  return text;
}

}  // namespace

std::string HtmlTable(const Table& table, bool record_links) {
  const Layout layout = LayoutOf(table);
  std::string text = TableTag(fmt::format("{}", fmt::join(layout.constant, " "))) +
                     Header(table, layout) + "<tbody>\n";
  for (size_t r = 0; r < table.rows.size(); ++r) text += Row(table, layout, r, record_links);
  return "<figure>\n" + ScrollBox(table.spec->title, text + "</tbody>\n</table>\n") +
         "<figcaption>" + Caption(table, layout) + "</figcaption>\n</figure>\n";
}

std::string HtmlPage(const Table& table) {
  return fmt::format(
      "<!doctype html>\n<!-- Generated by make_tables. -->\n<html lang=\"en\">\n<head>\n"
      "<meta charset=\"utf-8\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n{}</body>\n"
      "</html>\n",
      MarkupText(table.spec->title), kStyle, HtmlTable(table));
}

}  // namespace quantref
