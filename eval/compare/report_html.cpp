#include <fmt/format.h>

#include <algorithm>

#include "eval/compare/report.h"
#include "eval/compare/report_rows.h"
#include "eval/compare/report_speed.h"
#include "eval/support/html_table.h"
#include "eval/support/markup.h"

// A comparison as a part of a page.

namespace quantref {
namespace {

// The verdict's class is its first word: "verdict-cannot".
std::string VerdictKind(const std::string& verdict) {
  return "verdict-" + verdict.substr(0, verdict.find_first_of(" ,"));
}

HtmlTextTable AsHtml(const ReportTable& table, const std::string& label) {
  HtmlTextTable html{label, table.header, {}, table.left};
  const auto verdict = std::find(table.header.begin(), table.header.end(), "verdict");
  const auto column = static_cast<size_t>(verdict - table.header.begin());
  for (const std::vector<ReportCell>& row : table.rows) {
    std::vector<HtmlCell>& cells = html.rows.emplace_back();
    for (size_t c = 0; c < row.size(); ++c)
      cells.push_back({row[c].text, "", c == column ? VerdictKind(row[c].text) : "", row[c].value});
  }
  return html;
}

std::string View(const std::string& id, const std::string& title, const ReportTable& table,
                 const std::string& legend) {
  if (table.rows.empty()) return "";
  return fmt::format(
      "<div class=\"view\" id=\"{}\">\n<h3>{}</h3>\n{}<p class=\"note\">{}</p>\n</div>\n", id,
      title, HtmlOf(AsHtml(table, title)), legend);
}

}  // namespace

std::string ComparisonHtml(const RecordComparison& comparison) {
  ListedCells listed = ListCells(comparison);
  ComparedCells& cells = listed.changed;
  cells.insert(cells.end(), listed.identical.begin(), listed.identical.end());
  std::string text = fmt::format(
      "<p class=\"lede\"><b>{}</b></p>\n<dl>\n<dt>baseline</dt><dd>{}</dd>\n<dt>candidate</dt>"
      "<dd>{}</dd>\n",
      MarkupText(SummaryLine(comparison)), MarkupText(SetLine(*comparison.baseline)),
      MarkupText(SetLine(*comparison.candidate)));
  const std::string shared = SharedLine(comparison);
  if (!shared.empty()) text += "<dt>of all cells</dt><dd>" + MarkupText(shared) + "</dd>\n";
  text += "</dl>\n";
  text += View("accuracy", "Accuracy", MakeCellTable(cells), MarkupText(kCellLegend) + ".");
  text +=
      View("speed", "Speed", MakeSpeedTable(SpeedRows(comparison)), MarkupText(kSpeedLegend) + ".");
  text += View("why", "Why", TableOfTexts({"verdict", "why", "cells"}, ReasonRows(comparison)),
               "Why cells cannot be compared, or nothing can be told of them.");
  text += View("changes", "What changed",
               TableOfTexts({"what", "baseline", "candidate", "cells"}, ChangeRows(comparison)),
               "Causes first: the first stage whose hash changed. Then what else may explain it.");
  text += View("stamps", "Stamps", TableOfTexts({"stamp", "of", "cells"}, StampRows(comparison)),
               "Of either record.");
  return text;
}

}  // namespace quantref
