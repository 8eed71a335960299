#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "eval/compare/report_rows.h"
#include "eval/report/columns.h"
#include "eval/report/records.h"
#include "eval/support/html_table.h"
#include "eval/support/markup.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

// More different values than this are counted instead of listed.
constexpr size_t kMostValues = 12;

// How many records each text is true of.
using Counts = std::map<std::string, size_t>;

std::string CountsHtml(const Counts& counts, size_t records) {
  std::string html;
  size_t listed = 0;
  for (const auto& [text, count] : counts) {
    if (listed++ == kMostValues)
      return html + fmt::format("<br>and {} more", counts.size() - kMostValues);
    html += (html.empty() ? "" : "<br>") + MarkupText(text);
    if (count < records) html += fmt::format(" <span class=\"count\">× {}</span>", count);
  }
  return html;
}

std::string FactsHtml(const std::vector<PageRecord>& records) {
  std::string html = "<dl>\n";
  for (const RecordColumn& fact : SummaryFacts()) {
    Counts counts;
    for (const PageRecord& record : records) {
      const std::string text = fact.cell(record).text;
      if (text != "-") ++counts[text];
    }
    if (!counts.empty())
      html +=
          fmt::format("<dt>{}</dt><dd>{}</dd>\n", fact.name, CountsHtml(counts, records.size()));
  }
  return html + "</dl>\n";
}

std::string WarningsHtml(const std::vector<PageRecord>& records) {
  Counts stamps;
  size_t changed = 0;
  for (const PageRecord& record : records) {
    for (const Stamp& stamp : record.table.stored.stamps)
      ++stamps[fmt::format("{}: {}", stamp.letter, stamp.text)];
    changed += record.table.Field("tool.dirty") == "true" ? 1 : 0;
  }
  if (changed > 0) stamps["made by a program whose source tree differed from its commit"] = changed;
  if (stamps.empty()) return "";
  std::string html = "<ul class=\"warnings\">\n";
  for (const auto& [text, count] : stamps) {
    html += fmt::format("<li><b>{}</b>, {} of {}</li>\n", MarkupText(text), count,
                        Plural(records.size(), "record"));
  }
  return html + "</ul>\n";
}

// What was noticed of the candidates of the newest records, a line each; "" where there is nothing.
std::string NotesHtml(const std::vector<PageRecord>& records) {
  std::string items;
  for (const PageRecord& record : records) {
    if (!record.newest) continue;
    for (const std::string& note : record.notes)
      items +=
          fmt::format("<li><a href=\"#{}\">{}</a> {}</li>\n", RecordAnchor(record.table.stored.id),
                      MarkupText(record.table.stored.cell.config), MarkupText(note));
  }
  if (items.empty()) return "";
  return "<p>Noticed of candidates:</p>\n<ul class=\"noticed\">\n" + items + "</ul>\n";
}

// Ids may be any text; two records may claim one.
std::string FoldId(const std::string& id, std::set<std::string>& taken) {
  const std::string base = RecordAnchor(id);
  std::string name = base;
  for (size_t copy = 2; !taken.insert(name).second; ++copy) name = fmt::format("{}-{}", base, copy);
  return name;
}

std::string DetailHtml(const PageRecord& record) {
  std::string html =
      "<div class=\"detail\"><a class=\"close\" href=\"#records\">close</a>\n"
      "<div class=\"parts\"><div><h4>Values</h4>\n<dl>\n";
  for (const auto& [path, value] : record.values)
    html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", MarkupText(path), MarkupText(value));
  return html +
         fmt::format("</dl></div>\n<div><h4>Resolved config</h4>\n<pre>{}</pre></div></div></div>",
                     MarkupText(record.resolved));
}

// A column of the table; where all records have one value, a part of the sentence above it.
void AddColumn(const RecordColumn& column, const std::vector<PageRecord>& records,
               HtmlTextTable& table, std::string& constant) {
  std::vector<HtmlCell> cells;
  for (const PageRecord& record : records) cells.push_back(column.cell(record));
  const bool same = std::all_of(cells.begin(), cells.end(), [&](const HtmlCell& cell) {
    return cell.text == cells[0].text && cell.title == cells[0].title;
  });
  if (same && records.size() > 1) {
    if (cells[0].text != "-")
      constant += (constant.empty() ? "" : "; ") + column.name + " " + cells[0].text;
    return;
  }
  table.header.push_back(column.name);
  for (size_t r = 0; r < records.size(); ++r) table.rows[r].push_back(std::move(cells[r]));
}

}  // namespace

std::string SummaryHtml(const std::vector<PageRecord>& records) {
  const auto earlier = [](const PageRecord& a, const PageRecord& b) {
    return a.table.stored.created < b.table.stored.created;
  };
  const auto [first, last] = std::minmax_element(records.begin(), records.end(), earlier);
  const auto cells = static_cast<size_t>(std::count_if(
      records.begin(), records.end(), [](const PageRecord& record) { return record.newest; }));
  const size_t older = records.size() - cells;
  std::string made = first->table.stored.created;
  if (last->table.stored.created != made) made += " to " + last->table.stored.created;
  return WarningsHtml(records) +
         fmt::format("<p class=\"lede\"><b>{}</b> of {}{}, made {}.</p>\n",
                     Plural(records.size(), "record"), Plural(cells, "cell"),
                     older == 0 ? "" : fmt::format(" ({} passed over)", Plural(older, "older run")),
                     MarkupText(made)) +
         FactsHtml(records) + NotesHtml(records);
}

std::string RecordsHtml(const std::vector<PageRecord>& records) {
  HtmlTextTable table{"All records", {}, {}};
  table.rows.resize(records.size());
  std::string constant;
  for (const auto* columns : {&TextColumns(), &NumberColumns()}) {
    for (const RecordColumn& column : *columns) AddColumn(column, records, table, constant);
    if (columns == &TextColumns()) table.left = table.header.size();
  }
  std::set<std::string> taken;
  for (const PageRecord& record : records)
    table.folds.push_back({FoldId(record.table.stored.id, taken), DetailHtml(record)});
  table.shared = constant;
  if (constant.empty()) return HtmlOf(table);
  return "<p class=\"note\">Of all records: " + MarkupText(constant) + ".</p>\n" + HtmlOf(table);
}

}  // namespace quantref
