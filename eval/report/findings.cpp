#include "eval/report/findings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "eval/compare/report.h"
#include "eval/compare/report_rows.h"
#include "eval/record/reference.h"
#include "eval/support/html_table.h"
#include "eval/support/markup.h"
#include "eval/support/text_table.h"
#include "eval/table/best.h"
#include "eval/table/cells.h"
#include "eval/table/render.h"

namespace quantref {
namespace {

using Texts = std::vector<std::string>;

constexpr size_t kMostFindings = 12;  // in a summary; tables have the others

std::string ListHtml(const char* kind, const Texts& items) {
  if (items.empty()) return "";
  std::string html = fmt::format("<ul class=\"{}\">\n", kind);
  for (const std::string& item : items) html += "<li>" + item + "</li>\n";
  return html + "</ul>\n";
}

bool IsAlarming(Verdict verdict) {
  return verdict == Verdict::kWorse || verdict == Verdict::kGone ||
         verdict == Verdict::kNotComparable || verdict == Verdict::kCannotTell;
}

bool IsAlarming(const ComparedCell& cell) {
  if (cell.accuracy && IsAlarming(cell.accuracy->verdict)) return true;
  if (!cell.speed) return false;
  return std::any_of(cell.speed->rates.begin(), cell.speed->rates.end(),
                     [](const RateFinding& rate) { return IsAlarming(rate.verdict); });
}

std::string RecordLink(const TableRecord& record, const std::string& text) {
  return fmt::format("<a href=\"#{}\">{}</a>", RecordAnchor(record.stored.id), MarkupText(text));
}

// A table of changes, from which the best of each scheme are read: all on the same windows.
TableSpec FindingsSpec() {
  TableSpec spec;
  spec.file = "the summary";
  for (const char* field : {"scheme", "config", "model", "method", "seed"})
    spec.rows.push_back({field, field});
  const TableMetric* metric = FindTableMetric("delta_ppl");
  spec.cells.push_back({metric, metric->header, std::nullopt, UncertaintyStyle::kInterval});
  spec.within = {"scheme"};
  spec.compete = {{"method", {fmt::format("!{}", kAnyReference)}}};
  return spec;
}

// What may be compared: the same weights, tokens and windows.
std::string GroupKey(const TableRecord& record) {
  const StoredRecord& stored = record.stored;
  std::string key;
  for (const char* fact :
       {"model.sha256", "model.dtype", "model.outliers", "dataset.sha256", "protocol.token_sha256"})
    key += stored.Fact(fact) + " ";
  return fmt::format("{}{} {}", key, stored.cell.protocol, fmt::join(stored.window_index, ","));
}

std::string ChangeText(const TableCell& cell, const TableValue& shows) {
  const NumberText number = CellNumber(cell, shows);
  std::string text = number.value + " %";
  if (number.low) text += fmt::format(" [{}, {}]", *number.low, *number.high);
  const std::string stamps = StampLetters(cell);
  return stamps.empty() ? text : text + " (" + stamps + ")";
}

// Of cells of one scheme, which does not say what they keep: " (10.17 bits)" where they differ.
std::string BitsText(const std::vector<const TableCell*>& cells, const TableCell& of) {
  const auto bits_of = [](const TableCell* cell) { return BitsAWeight(*cell->record); };
  const auto [least, most] = std::ranges::minmax(cells, {}, bits_of);
  return HasMoreBits(*most->record, *least->record) ? fmt::format(" at {:.2f} bits", bits_of(&of))
                                                    : "";
}

std::string CellText(const TableCell& cell, const TableValue& shows) {
  const TableRecord& record = *cell.record;
  const std::optional<size_t>& of = record.stored.cell.seed;
  const std::string seed = of ? fmt::format(", seed {}", *of) : "";
  return RecordLink(record, record.Field("method") + seed) + " " + ChangeText(cell, shows);
}

// Of the cells of one scheme.
std::string Finding(const std::string& scheme, const std::vector<const TableCell*>& cells,
                    const TableValue& shows) {
  std::vector<const TableCell*> best, others, in_doubt;
  for (const TableCell* cell : cells) {
    auto& list = InDoubt(cell->stamps) ? in_doubt : cell->mark == CellMark::kNone ? others : best;
    list.push_back(cell);
  }
  const auto list = [&](const std::vector<const TableCell*>& some) {
    Texts texts;
    for (const TableCell* cell : some)
      texts.push_back(CellText(*cell, shows) + BitsText(cells, *cell));
    return fmt::format("{}", fmt::join(texts, ", "));
  };
  std::string text = "<b>" + MarkupText(scheme) + "</b>: ";
  if (best.empty()) return text + list(cells);
  text += list(best);
  if (best.size() > 1) text += " are no different";
  if (!others.empty()) text += ", better than " + list(others);
  return text + (in_doubt.empty() ? "" : "; not compared: " + list(in_doubt));
}

// The findings of records that may be compared, with what they are about before them.
void AddFindings(const std::vector<const TableRecord*>& records, bool several, size_t threads,
                 Texts& findings) {
  TableRecords copies;
  for (const TableRecord* record : records) copies.records.push_back(*record);
  const TableSpec spec = FindingsSpec();
  const Table table = MakeTable(spec, copies, threads);
  std::map<std::string, std::vector<const TableCell*>> schemes;
  for (size_t r = 0; r < table.rows.size(); ++r) {
    if (table.cells[r][0]) schemes[table.rows[r][0]].push_back(&*table.cells[r][0]);
  }
  for (auto& [scheme, cells] : schemes) {
    std::stable_sort(cells.begin(), cells.end(), [](const TableCell* a, const TableCell* b) {
      return a->number.value < b->number.value;
    });
    const TableRecord& record = *cells[0]->record;
    const std::string about = several ? fmt::format("{}, {} on {}, ", record.Field("model"),
                                                    record.stored.cell.protocol, record.text)
                                      : "";
    findings.push_back(Finding(about + scheme, cells, spec.cells[0]));
  }
}

}  // namespace

std::string FailuresHtml(const std::vector<PageRecord>& records,
                         const std::optional<RecordComparison>& comparison) {
  Texts items;
  if (comparison && std::any_of(comparison->cells.begin(), comparison->cells.end(),
                                [](const ComparedCell& cell) { return IsAlarming(cell); })) {
    items.push_back(fmt::format("<b>against the baseline</b> (<a href=\"#comparison\">{}</a>): {}",
                                MarkupText(comparison->baseline->path.string()),
                                MarkupText(SummaryLine(*comparison))));
  }
  for (const PageRecord& record : records) {
    for (const Stamp& stamp : record.table.stored.stamps) {
      if (stamp.letter != 'G' || !record.newest) continue;
      const CellName& cell = record.table.stored.cell;
      items.push_back(RecordLink(record.table, cell.config + " " + cell.method) + ": " +
                      MarkupText(stamp.text));
    }
  }
  return ListHtml("failures", items);
}

std::string FindingsHtml(const std::vector<PageRecord>& records, size_t threads) {
  std::map<std::string, std::vector<const TableRecord*>> groups;
  for (const PageRecord& record : records) {
    const bool compared = record.newest && record.table.numbers.count("delta_ppl") > 0;
    if (compared) groups[GroupKey(record.table)].push_back(&record.table);
  }
  Texts findings;
  for (const auto& [key, group] : groups) AddFindings(group, groups.size() > 1, threads, findings);
  if (findings.empty()) return "";
  const size_t more = findings.size() > kMostFindings ? findings.size() - kMostFindings : 0;
  findings.resize(findings.size() - more);
  if (more > 0) findings.push_back(Plural(more, "finding") + " more, in the tables");
  return "<p>Change of PPL against the reference on the same windows, with its 95 % interval; "
         "where cells are said to differ, the paired interval of their difference excludes a "
         "tie:</p>\n" +
         ListHtml("findings", findings);
}

}  // namespace quantref
