#include "eval/compare/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "eval/compare/report_rows.h"
#include "eval/compare/report_speed.h"
#include "eval/support/markup.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

using Row = std::vector<std::string>;

// More cells than this that are the same bit for bit are counted instead of listed.
constexpr size_t kMostIdentical = 40;

std::string Section(const std::string& title, const std::vector<Row>& rows) {
  if (rows.empty()) return "";
  std::string text = "\n" + title + "\n";
  for (const Row& row : rows) {
    text += "  " + row[0];
    for (size_t i = 1; i + 1 < row.size(); ++i) text += ": " + row[i];
    text += "  (" + row.back() + ")\n";
  }
  return text;
}

std::vector<SpeedRow> WithVerdictSame(const std::vector<SpeedRow>& rows, bool same) {
  std::vector<SpeedRow> some;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(some),
               [&](const SpeedRow& row) { return (row.rate->verdict == Verdict::kSame) == same; });
  return some;
}

// What a table is for is needed; of the rest the least is left out first.
int WorthOf(const std::string& header) {
  static const std::map<std::string, int> worth = {
      {"kernel", 10}, {"PPL before", 20},   {"PPL now", 30}, {"tokens/s before", 20},
      {"now", 30},    {"first change", 40}, {"model", 50},   {"protocol", 50}};
  const auto known = worth.find(header);
  return known == worth.end() ? TextColumn::kNeeded : known->second;
}

std::string Fitted(const ReportTable& table, std::optional<size_t> width) {
  std::vector<TextColumn> columns;
  for (size_t c = 0; c < table.header.size(); ++c) {
    const std::string& header = table.header[c];
    columns.push_back(
        {.name = header, .header = header, .left = c < table.left, .worth = WorthOf(header)});
    for (const auto& row : table.rows) columns.back().cells.push_back(row[c].text);
  }
  const FittedTable fitted = FitTable(std::move(columns), width);
  if (fitted.left_out.empty()) return fitted.text;
  return fitted.text + Wrapped(fmt::format("left out, for lines of {}: {}\n", *width,
                                           fmt::join(fitted.left_out, ", ")),
                               width);
}

std::string SpeedText(std::vector<SpeedRow> rows, std::optional<size_t> width) {
  if (rows.empty()) return "";
  const size_t same = WithVerdictSame(rows, true).size();
  const bool all = same <= kMostIdentical;
  if (!all) rows = WithVerdictSame(rows, false);
  std::string text;
  if (!rows.empty()) {
    text += Fitted(MakeSpeedTable(rows), width);
  }
  if (!all) text += Plural(same, "speed") + " the same\n";
  return text + Wrapped(fmt::format("{}\n", kSpeedLegend), width);
}

std::string MarkdownTable(const ReportTable& table) {
  std::string text = "|", rule = "|";
  for (size_t c = 0; c < table.header.size(); ++c) {
    text += " " + MarkdownText(table.header[c]) + " |";
    rule += c < table.left ? "---|" : "---:|";
  }
  text += "\n" + rule + "\n";
  for (const std::vector<ReportCell>& row : table.rows) {
    text += "|";
    for (const ReportCell& cell : row) text += " " + MarkdownText(cell.text) + " |";
    text += "\n";
  }
  return text;
}

std::string Folded(const std::string& summary, const std::string& body) {
  return fmt::format("\n<details><summary>{}</summary>\n\n{}\n</details>\n", summary, body);
}

std::string SpeedMarkdown(const std::vector<SpeedRow>& rows) {
  if (rows.empty()) return "";
  const auto as_table = [](const std::vector<SpeedRow>& some) {
    return MarkdownTable(MakeSpeedTable(some));
  };
  const std::vector<SpeedRow> same = WithVerdictSame(rows, true),
                              others = WithVerdictSame(rows, false);
  std::string text;
  if (!others.empty()) text += "\n" + as_table(others) + "\n" + kSpeedLegend + "\n";
  if (!same.empty()) {
    text += Folded(Plural(same.size(), "speed") + " the same",
                   same.size() <= kMostIdentical ? as_table(same) : "Too many to list.\n");
  }
  return text;
}

// "9 of 11 cells judged".
std::string JudgedText(const JudgedCounts& counts, const std::string& noun) {
  return fmt::format("{} of {} judged", WithThousands(counts.judged), Plural(counts.all, noun));
}

}  // namespace

std::string SummaryLine(const RecordComparison& comparison) {
  std::string line;
  for (const Verdict verdict : kVerdicts) {
    const auto count = std::count_if(
        comparison.cells.begin(), comparison.cells.end(),
        [&](const auto& cell) { return cell.accuracy && cell.accuracy->verdict == verdict; });
    if (count == 0) continue;
    line += fmt::format("{}{} {}", line.empty() ? "" : ", ",
                        WithThousands(static_cast<size_t>(count)), VerdictName(verdict));
  }
  if (!line.empty()) line = JudgedText(JudgedAccuracies(comparison), "cell") + ": " + line;
  std::string speed = SpeedSummary(SpeedRows(comparison));
  if (speed.empty()) return line;
  speed = fmt::format("speed: {}: {}", JudgedText(JudgedRates(comparison), "rate"), speed);
  return line.empty() ? speed : fmt::format("accuracy: {}; {}", line, speed);
}

std::string GateLine(const RecordComparison& comparison, const Gate& gate) {
  const GateFailureCounts failures = GateFailures(gate, comparison);
  if (failures.cells > 0) {
    const std::string line = fmt::format("gate: FAILED by {}", Plural(failures.cells, "cell"));
    if (failures.speed == 0) return line;
    return line + fmt::format(" ({} in accuracy, {} in speed)", failures.accuracy, failures.speed);
  }
  const JudgedCounts accuracy = JudgedAccuracies(comparison), rates = JudgedRates(comparison);
  if (accuracy.judged + rates.judged == 0) return "gate: passed, but NOTHING was judged";
  std::string unjudged;
  if (accuracy.judged < accuracy.all) unjudged = Plural(accuracy.all - accuracy.judged, "cell");
  if (rates.judged < rates.all) {
    unjudged += (unjudged.empty() ? "" : " and ") + Plural(rates.all - rates.judged, "rate");
  }
  return unjudged.empty() ? "gate: passed" : "gate: passed, without judging " + unjudged;
}

std::string ComparisonText(const RecordComparison& comparison, const Gate& gate, bool gated,
                           std::optional<size_t> width) {
  const ListedCells listed = ListCells(comparison);
  ComparedCells cells = listed.changed;
  const bool all = listed.identical.size() <= kMostIdentical;
  if (all) cells.insert(cells.end(), listed.identical.begin(), listed.identical.end());
  std::string text =
      Wrapped(fmt::format("\nbaseline   {}\ncandidate  {}\n{}\n", SetLine(*comparison.baseline),
                          SetLine(*comparison.candidate), SharedLine(comparison)),
              width);
  if (!cells.empty()) text += Fitted(MakeCellTable(cells), width);
  if (!all) text += Plural(listed.identical.size(), "cell") + " the same, bit for bit\n";
  const bool accuracy = !listed.changed.empty() || !listed.identical.empty();
  const std::string speed = SpeedText(SpeedRows(comparison), width);
  text += (accuracy && !speed.empty() ? "\n" : "") + speed;
  text += Wrapped(Section("why", ReasonRows(comparison)), width);
  const std::vector<Row> changes = ChangeRows(comparison);
  if (!changes.empty())
    text += "\n" + Fitted(TableOfTexts({"what changed", "baseline", "candidate", "cells"}, changes),
                          width);
  std::string end = Section("stamps", StampRows(comparison)) + "\n";
  if (accuracy) end += fmt::format("{}\n", kCellLegend);
  end += SummaryLine(comparison) + "\n";
  if (gated) end += GateLine(comparison, gate) + "\n";
  return Printable(text + Wrapped(end, width));
}

std::string ComparisonMarkdown(const RecordComparison& comparison, const Gate& gate, bool gated) {
  const ListedCells listed = ListCells(comparison);
  std::string text = fmt::format("**{}**{}\n", SummaryLine(comparison),
                                 gated ? " · " + GateLine(comparison, gate) : "");
  text += "\n";
  std::string shared = SharedLine(comparison);
  if (!shared.empty()) {
    shared.pop_back();  // the line's end
    text += MarkdownText(shared) + "\n";
  }
  const auto add_table = [](const ComparedCells& cells) {
    return MarkdownTable(MakeCellTable(cells));
  };
  if (!listed.changed.empty()) text += "\n" + add_table(listed.changed) + "\n" + kCellLegend + "\n";
  text += SpeedMarkdown(SpeedRows(comparison));
  const std::vector<Row> reasons = ReasonRows(comparison), changes = ChangeRows(comparison),
                         stamps = StampRows(comparison);
  if (!stamps.empty()) text += "\n" + MarkdownTable(TableOfTexts({"stamp", "of", "cells"}, stamps));
  if (!reasons.empty())
    text += Folded("Why", MarkdownTable(TableOfTexts({"verdict", "why", "cells"}, reasons)));
  if (!changes.empty()) {
    text +=
        Folded("What changed",
               MarkdownTable(TableOfTexts({"what", "baseline", "candidate", "cells"}, changes)));
  }
  if (!listed.identical.empty()) {
    const bool all = listed.identical.size() <= kMostIdentical;
    text += Folded(Plural(listed.identical.size(), "cell") + " the same, bit for bit",
                   all ? add_table(listed.identical) : "Too many to list.\n");
  }
  text += Folded("Records", fmt::format("baseline {}  \ncandidate {}\n",
                                        MarkdownText(SetLine(*comparison.baseline)),
                                        MarkdownText(SetLine(*comparison.candidate))));
  return Printable(text);
}

}  // namespace quantref
