#include "eval/compare/report_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "eval/compare/report_speed.h"
#include "eval/record/pairing.h"
#include "eval/support/figure_text.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

using Row = std::vector<std::string>;

// " CX": of accuracy; "" where there are none.
std::string StampLetters(const StoredRecord& record) {
  std::string letters;
  for (const Stamp& stamp : record.stamps) {
    if (!stamp.speed && letters.find(stamp.letter) == std::string::npos) letters += stamp.letter;
  }
  return letters.empty() ? "" : " " + letters;
}

ReportCell PplCell(const StoredRecord* record) {
  if (record == nullptr || !record->HasAccuracy()) return {"-"};
  const double ppl = std::exp(record->MeanNll());
  return {FigureText(ppl, 4) + StampLetters(*record), ppl};
}

std::string DeltaText(const AccuracyFinding& finding) {
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
  if (cell.cause) return cell.cause->Text();
  const bool both = cell.baseline != nullptr && cell.candidate != nullptr;
  return both && !cell.Identical() ? "not in the hashes" : "-";
}

// Lines that many cells may share, each with those cells.
class Groups {
 public:
  void Add(const Row& line, const ComparedCell& cell) {
    const auto [at, is_new] = places_.try_emplace(line, groups_.size());
    if (is_new) groups_.push_back({line, {}});
    ComparedCells& cells = groups_[at->second].second;
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
  static std::string Names(const ComparedCells& cells) {
    constexpr size_t kMostNames = 3;
    std::string names;
    for (size_t i = 0; i < std::min(kMostNames, cells.size()); ++i)
      names += (i == 0 ? "" : ", ") + cells[i]->cell().Text();
    if (cells.size() > kMostNames)
      names += fmt::format(" and {} more", WithThousands(cells.size() - kMostNames));
    return names;
  }

  std::map<Row, size_t> places_;  // of lines in groups_, which keeps the order they came in
  std::vector<std::pair<Row, ComparedCells>> groups_;
};

// What changed between the two records of the cell, as lines of a table: the cause, or what else.
std::vector<Row> ChangesOf(const ComparedCell& cell, bool causes) {
  std::vector<Row> lines;
  const auto add = [&](const std::string& what, const Change& change) {
    lines.push_back({what, ShortHash(change.baseline), ShortHash(change.candidate)});
  };
  if (causes && cell.cause)
    add(cell.cause->Text() + ": " + cell.cause->change.what, cell.cause->change);
  if (!causes) {
    for (const Change& change : cell.changes) add(change.what, change);
  }
  return lines;
}

}  // namespace

ReportTable MakeCellTable(const ComparedCells& cells) {
  std::set<std::string> protocols;
  for (const ComparedCell* cell : cells) protocols.insert(cell->cell().protocol);
  const ModelNames models(cells);
  ReportTable table{{"cell"}, {}};
  if (models.Several()) table.header.emplace_back("model");
  if (protocols.size() > 1) table.header.emplace_back("protocol");
  const Row measures = {"verdict", "first change"};
  table.header.insert(table.header.end(), measures.begin(), measures.end());
  table.left = table.header.size();
  for (const char* name : {"PPL before", "PPL now", "change of NLL (nats)"})
    table.header.emplace_back(name);
  for (const ComparedCell* cell : cells) {
    std::vector<ReportCell>& row = table.rows.emplace_back();
    row.push_back({cell->cell().Text()});
    if (models.Several()) row.push_back({models.Of(*cell)});
    if (protocols.size() > 1) row.push_back({cell->cell().protocol});
    row.push_back({VerdictCell(*cell->accuracy)});
    row.push_back({CauseCell(*cell)});
    row.push_back(PplCell(cell->baseline));
    row.push_back(PplCell(cell->candidate));
    row.push_back({DeltaText(*cell->accuracy), cell->accuracy->delta});
  }
  return table;
}

std::vector<Row> ReasonRows(const RecordComparison& comparison) {
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

std::vector<Row> StampRows(const RecordComparison& comparison) {
  Groups groups;
  const std::pair<const char*, const StoredRecord * ComparedCell::*> sides[] = {
      {"before", &ComparedCell::baseline}, {"now", &ComparedCell::candidate}};
  for (const ComparedCell& cell : comparison.cells) {
    std::map<Stamp, std::string> whose;
    for (const auto& [side, record] : sides) {
      if (cell.*record == nullptr) continue;
      for (const Stamp& stamp : (cell.*record)->stamps) {
        std::string& of = whose[stamp];
        of += (of.empty() ? "" : ", ") + std::string(side);
      }
    }
    for (const auto& [stamp, of] : whose)
      groups.Add({fmt::format("{}: {}", stamp.letter, stamp.text), of}, cell);
  }
  return groups.Rows();
}

std::vector<Row> ChangeRows(const RecordComparison& comparison) {
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

std::string SharedLine(const RecordComparison& comparison) {
  std::set<std::string> protocols;
  ComparedCells all;
  for (const ComparedCell& cell : comparison.cells) {
    all.push_back(&cell);
    if (!cell.cell().protocol.empty()) protocols.insert(cell.cell().protocol);
  }
  std::string line =
      all.empty() || ModelNames(all).Several() ? "" : comparison.cells.front().cell().model;
  if (protocols.size() == 1) line += (line.empty() ? "" : " · ") + *protocols.begin();
  return line.empty() ? "" : line + "\n";
}

ListedCells ListCells(const RecordComparison& comparison) {
  ListedCells listed;
  for (const ComparedCell& cell : comparison.cells) {
    if (cell.accuracy) (cell.Identical() ? listed.identical : listed.changed).push_back(&cell);
  }
  return listed;
}

}  // namespace quantref
