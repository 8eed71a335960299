#include "eval/compare_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "eval/compare_changes.h"
#include "eval/compare_report_speed.h"
#include "eval/text_table.h"

namespace quantref {
namespace {

using Row = std::vector<std::string>;
using Cells = std::vector<const ComparedCell*>;

// More cells than this that are the same bit for bit are counted instead of listed.
constexpr size_t kMostIdentical = 40;

std::string Plural(size_t count, const std::string& noun) {
  return fmt::format("{} {}{}", WithThousands(count), noun, count == 1 ? "" : "s");
}

std::string Ppl(const StoredRecord* record) {
  return record == nullptr || !record->HasAccuracy()
             ? "-"
             : fmt::format("{:.4f}", std::exp(record->MeanNll()));
}

std::string DeltaCell(const AccuracyFinding& finding) {
  if (!finding.delta) return "-";
  if (finding.identical) return "0";
  if (!finding.interval) return fmt::format("{:+.5f}", *finding.delta);
  const Interval& interval = *finding.interval;
  const bool tiny = std::max(std::abs(interval.low), std::abs(interval.high)) <= kRoundingNll;
  const auto text = [&](double nats) {
    return tiny ? fmt::format("{:+.1e}", nats) : fmt::format("{:+.5f}", nats);
  };
  return fmt::format("{} [{}, {}]", text(*finding.delta), text(interval.low), text(interval.high));
}

std::string VerdictCell(const AccuracyFinding& finding) {
  const bool other_bits = finding.verdict == Verdict::kSame && !finding.identical;
  return std::string(VerdictName(finding.verdict)) + (other_bits ? ", other bits" : "");
}

std::string CauseCell(const ComparedCell& cell) {
  if (cell.cause) return cell.cause->stage;
  const bool both = cell.baseline != nullptr && cell.candidate != nullptr;
  return both && !cell.Identical() ? "not in the hashes" : "-";
}

// The cells, which have accuracy; the columns that have one value for all of them are left out.
struct CellTable {
  Row header;
  std::vector<Row> rows;
  size_t left = 0;  // columns that are flush left
};

CellTable MakeTable(const Cells& cells) {
  std::set<std::string> models, protocols;
  for (const ComparedCell* cell : cells) {
    models.insert(cell->cell().model);
    protocols.insert(cell->cell().protocol);
  }
  CellTable table{{"cell"}, {}};
  if (models.size() > 1) table.header.emplace_back("model");
  if (protocols.size() > 1) table.header.emplace_back("protocol");
  const Row measures = {"verdict", "first change"};
  table.header.insert(table.header.end(), measures.begin(), measures.end());
  table.left = table.header.size();
  for (const char* name : {"PPL before", "PPL now", "change of NLL (nats)"})
    table.header.emplace_back(name);
  for (const ComparedCell* cell : cells) {
    Row row = {cell->cell().Text()};
    if (models.size() > 1) row.push_back(cell->cell().model);
    if (protocols.size() > 1) row.push_back(cell->cell().protocol);
    for (std::string value : {VerdictCell(*cell->accuracy), CauseCell(*cell), Ppl(cell->baseline),
                              Ppl(cell->candidate), DeltaCell(*cell->accuracy)}) {
      row.push_back(std::move(value));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

// Lines that many cells may share, each with those cells.
class Groups {
 public:
  void Add(const Row& line, const ComparedCell& cell) {
    const auto [at, is_new] = places_.try_emplace(line, groups_.size());
    if (is_new) groups_.push_back({line, {}});
    Cells& cells = groups_[at->second].second;
    if (cells.empty() || cells.back() != &cell) cells.push_back(&cell);
  }

  // Each line with its cells' names as the last column.
  std::vector<Row> Rows() const {
    std::vector<Row> rows;
    for (const auto& [line, cells] : groups_) {
      rows.push_back(line);
      rows.back().push_back(Names(cells));
    }
    return rows;
  }

 private:
  static std::string Names(const Cells& cells) {
    constexpr size_t kMostNames = 3;
    std::string names;
    for (size_t i = 0; i < std::min(kMostNames, cells.size()); ++i)
      names += (i == 0 ? "" : ", ") + cells[i]->cell().Text();
    if (cells.size() > kMostNames)
      names += fmt::format(" and {} more", WithThousands(cells.size() - kMostNames));
    return names;
  }

  std::map<Row, size_t> places_;  // of lines in groups_, which keeps the order they came in
  std::vector<std::pair<Row, Cells>> groups_;
};

std::vector<Row> Reasons(const RecordComparison& comparison) {
  Groups groups;
  for (const ComparedCell& cell : comparison.cells) {
    if (cell.accuracy && !cell.accuracy->why.empty())
      groups.Add({VerdictName(cell.accuracy->verdict), cell.accuracy->why}, cell);
  }
  for (const SpeedRow& row : SpeedRows(comparison)) {
    if (!row.rate->why.empty())
      groups.Add({"speed " + std::string(VerdictName(row.rate->verdict)), row.rate->why},
                 *row.cell);
  }
  return groups.Rows();
}

std::vector<Row> Stamps(const RecordComparison& comparison) {
  Groups groups;
  for (const ComparedCell& cell : comparison.cells) {
    std::set<std::string> stamps;
    for (const StoredRecord* record : {cell.baseline, cell.candidate}) {
      if (record != nullptr) stamps.insert(record->stamps.begin(), record->stamps.end());
    }
    for (const std::string& stamp : stamps) groups.Add({stamp}, cell);
  }
  return groups.Rows();
}

// What changed between the two records of the cell, as lines of a table: the cause, or what else.
std::vector<Row> ChangesOf(const ComparedCell& cell, bool causes) {
  std::vector<Row> lines;
  const auto add = [&](const std::string& what, const Change& change) {
    lines.push_back({what, ShortHash(change.baseline), ShortHash(change.candidate)});
  };
  if (causes && cell.cause)
    add(cell.cause->stage + ": " + cell.cause->change.what, cell.cause->change);
  if (!causes) {
    for (const Change& change : cell.changes) add(change.what, change);
  }
  return lines;
}

// Of all cells, causes first. What changed in too many different ways to list them, such as the
// hashes of every cell's weights, is one line.
std::vector<Row> Changes(const RecordComparison& comparison) {
  constexpr size_t kMostWays = 4;
  Groups groups;
  for (const bool causes : {true, false}) {
    std::map<std::string, std::set<Row>> ways;
    for (const ComparedCell& cell : comparison.cells) {
      for (const Row& line : ChangesOf(cell, causes)) ways[line[0]].insert(line);
    }
    for (const ComparedCell& cell : comparison.cells) {
      for (const Row& line : ChangesOf(cell, causes)) {
        const bool many = ways[line[0]].size() > kMostWays;
        groups.Add(many ? Row{line[0], "(by cell)", "(by cell)"} : line, cell);
      }
    }
  }
  return groups.Rows();
}

std::string SetLine(const RecordSet& set) {
  std::string line = fmt::format("{}: {}", set.path.string(), Plural(set.records.size(), "record"));
  if (set.passed_over > 0) {
    line +=
        fmt::format(", {} of the same cells passed over", Plural(set.passed_over, "older record"));
  }
  return line;
}

// The model and the protocol that all cells have; where they differ, the table has columns.
std::string SharedLine(const RecordComparison& comparison) {
  std::set<std::string> models, protocols;
  for (const ComparedCell& cell : comparison.cells) {
    models.insert(cell.cell().model);
    if (!cell.cell().protocol.empty()) protocols.insert(cell.cell().protocol);
  }
  std::string line = models.size() == 1 ? *models.begin() : "";
  if (protocols.size() == 1) line += (line.empty() ? "" : " · ") + *protocols.begin();
  return line.empty() ? "" : line + "\n";
}

// Of the cells that have accuracy.
struct Listed {
  Cells changed, identical;
};

Listed Split(const RecordComparison& comparison) {
  Listed listed;
  for (const ComparedCell& cell : comparison.cells) {
    if (cell.accuracy) (cell.Identical() ? listed.identical : listed.changed).push_back(&cell);
  }
  return listed;
}

constexpr char kLegend[] =
    "change of NLL: candidate minus baseline a scored token, paired over windows, with its 95 % "
    "interval";

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

std::string SpeedText(std::vector<SpeedRow> rows) {
  if (rows.empty()) return "";
  const size_t same = WithVerdictSame(rows, true).size();
  const bool all = same <= kMostIdentical;
  if (!all) rows = WithVerdictSame(rows, false);
  std::string text;
  if (!rows.empty()) {
    const SpeedTable table = MakeSpeedTable(rows);
    text += RenderTable(table.header, table.rows, table.left);
  }
  if (!all) text += Plural(same, "speed") + " the same\n";
  return text + kSpeedLegend + "\n";
}

// The characters that mean something to Markdown or HTML, or end a table's cell, as they look.
std::string MarkdownText(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (c == '&') {
      escaped += "&amp;";
    } else {
      if (std::string_view("\\`*|[]~").find(c) != std::string_view::npos) escaped += '\\';
      escaped += c;
    }
  }
  return escaped;
}

std::string MarkdownTable(const Row& header, const std::vector<Row>& rows, size_t left) {
  const auto line = [](const Row& row) {
    std::string text = "|";
    for (const std::string& cell : row) text += " " + MarkdownText(cell) + " |";
    return text + "\n";
  };
  std::string table = line(header) + "|";
  for (size_t c = 0; c < header.size(); ++c) table += c < left ? "---|" : "---:|";
  table += "\n";
  for (const Row& row : rows) table += line(row);
  return table;
}

std::string Folded(const std::string& summary, const std::string& body) {
  return fmt::format("\n<details><summary>{}</summary>\n\n{}\n</details>\n", summary, body);
}

std::string SpeedMarkdown(const std::vector<SpeedRow>& rows) {
  if (rows.empty()) return "";
  const auto as_table = [](const std::vector<SpeedRow>& some) {
    const SpeedTable table = MakeSpeedTable(some);
    return MarkdownTable(table.header, table.rows, table.left);
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
  const std::string speed = SpeedSummary(SpeedRows(comparison));
  if (speed.empty()) return line;
  return line.empty() ? "speed: " + speed : fmt::format("accuracy: {}; speed: {}", line, speed);
}

std::string GateLine(const RecordComparison& comparison, const Gate& gate) {
  const GateFailureCounts failures = GateFailures(gate, comparison);
  if (failures.cells == 0) return "gate: passed";
  std::string line = fmt::format("gate: FAILED by {}", Plural(failures.cells, "cell"));
  if (failures.speed > 0)
    line += fmt::format(" ({} in accuracy, {} in speed)", failures.accuracy, failures.speed);
  return line;
}

std::string ComparisonText(const RecordComparison& comparison, const Gate& gate, bool gated) {
  const Listed listed = Split(comparison);
  Cells cells = listed.changed;
  const bool all = listed.identical.size() <= kMostIdentical;
  if (all) cells.insert(cells.end(), listed.identical.begin(), listed.identical.end());
  std::string text =
      fmt::format("\nbaseline   {}\ncandidate  {}\n{}\n", SetLine(*comparison.baseline),
                  SetLine(*comparison.candidate), SharedLine(comparison));
  if (!cells.empty()) {
    const CellTable table = MakeTable(cells);
    text += RenderTable(table.header, table.rows, table.left);
  }
  if (!all) text += Plural(listed.identical.size(), "cell") + " the same, bit for bit\n";
  const bool accuracy = !listed.changed.empty() || !listed.identical.empty();
  const std::string speed = SpeedText(SpeedRows(comparison));
  text += (accuracy && !speed.empty() ? "\n" : "") + speed;
  text += Section("why", Reasons(comparison));
  std::vector<Row> changes = Changes(comparison);
  if (!changes.empty()) {
    text += "\n" + RenderTable({"what changed", "baseline", "candidate", "cells"}, changes, 4);
  }
  text += Section("stamps", Stamps(comparison));
  text += "\n";
  if (accuracy) text += std::string(kLegend) + "\n";
  text += SummaryLine(comparison) + "\n";
  if (gated) text += GateLine(comparison, gate) + "\n";
  return Printable(text);
}

std::string ComparisonMarkdown(const RecordComparison& comparison, const Gate& gate, bool gated) {
  const Listed listed = Split(comparison);
  std::string text = fmt::format("**{}**{}\n", SummaryLine(comparison),
                                 gated ? " · " + GateLine(comparison, gate) : "");
  text += "\n" + MarkdownText(SharedLine(comparison));
  const auto add_table = [](const Cells& cells) {
    const CellTable table = MakeTable(cells);
    return MarkdownTable(table.header, table.rows, table.left);
  };
  if (!listed.changed.empty()) text += "\n" + add_table(listed.changed) + "\n" + kLegend + "\n";
  text += SpeedMarkdown(SpeedRows(comparison));
  const std::vector<Row> reasons = Reasons(comparison), changes = Changes(comparison),
                         stamps = Stamps(comparison);
  if (!stamps.empty()) text += "\n" + MarkdownTable({"stamp", "cells"}, stamps, 2);
  if (!reasons.empty())
    text += Folded("Why", MarkdownTable({"verdict", "why", "cells"}, reasons, 3));
  if (!changes.empty()) {
    text += Folded("What changed",
                   MarkdownTable({"what", "baseline", "candidate", "cells"}, changes, 4));
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
