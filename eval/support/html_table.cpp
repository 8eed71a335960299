#include "eval/support/html_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>

#include "eval/support/markup.h"
#include "harness/base/check.h"

namespace quantref {
namespace {

std::string Attribute(const std::string& name, const std::string& value) {
  return value.empty() ? "" : fmt::format(" {}=\"{}\"", name, MarkupText(value));
}

std::string CellText(const HtmlCell& cell, bool is_number) {
  const std::string kind =
      is_number ? cell.kind : cell.kind + (cell.kind.empty() ? "" : " ") + "text";
  return fmt::format("<td{}{}{}>{}</td>", Attribute("class", kind), Attribute("title", cell.title),
                     Attribute("data-value", SortValue(cell.value)), MarkupText(cell.text));
}

std::string RowHeader(const HtmlCell& cell, const HtmlFold* fold) {
  const std::string text = MarkupText(cell.text);
  return fmt::format(
      "<th scope=\"row\"{}>{}</th>", Attribute("title", cell.title),
      fold == nullptr ? text : fmt::format("<a href=\"#{}\">{}</a>", fold->id, text));
}

}  // namespace

std::string SortValue(std::optional<double> value) {
  constexpr double kMost = std::numeric_limits<double>::max();  // infinity is no number in a page
  return value && !std::isnan(*value) ? fmt::format("{}", std::clamp(*value, -kMost, kMost)) : "";
}

std::string RecordAnchor(const std::string& id) {
  std::string anchor = "record-" + id;
  std::replace_if(
      anchor.begin(), anchor.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '-');
  return anchor;
}

std::string TableTag(const std::string& shared) {
  return "<table" + Attribute("data-shared", shared) + ">\n";
}

std::string ScrollBox(const std::string& label, const std::string& html) {
  return fmt::format("<div class=\"scroll\" role=\"region\" tabindex=\"0\"{}>\n{}</div>\n",
                     Attribute("aria-label", label), html);
}

std::string HtmlOf(const HtmlTextTable& table) {
  QR_CHECK(table.folds.empty() || table.folds.size() == table.rows.size());
  std::string text = TableTag(table.shared) + "<thead>\n<tr>";
  for (size_t c = 0; c < table.header.size(); ++c) {
    text += fmt::format("<th scope=\"col\"{}>{}</th>", c < table.left ? " class=\"head\"" : "",
                        MarkupText(table.header[c]));
  }
  text += "</tr>\n</thead>\n<tbody>\n";
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const HtmlFold* fold = table.folds.empty() ? nullptr : &table.folds[r];
    const std::vector<HtmlCell>& row = table.rows[r];
    text += "<tr>" + RowHeader(row[0], fold);
    for (size_t c = 1; c < row.size(); ++c) text += CellText(row[c], c >= table.left);
    text += "</tr>\n";
    if (fold == nullptr) continue;
    text += fmt::format("<tr class=\"fold\" id=\"{}\"><td colspan=\"{}\">{}</td></tr>\n", fold->id,
                        table.header.size(), fold->html);
  }
  return ScrollBox(table.label, text + "</tbody>\n</table>\n");
}

}  // namespace quantref
