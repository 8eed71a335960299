#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "eval/stats/variance_components.h"
#include "eval/support/public_name.h"
#include "eval/table/analyses.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

// Samples and tokens of each.
using Amount = std::pair<size_t, size_t>;

size_t CountOf(const TableRecord& record, const std::string& field) {
  const std::string& text = record.Field(field);
  size_t count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  return count;
}

std::string AmountText(const Amount& amount) {
  return fmt::format("{} x {}", amount.first, amount.second);
}

// A method's cells, by what they were calibrated on.
struct CalibratedCells {
  std::vector<std::string> names;
  std::vector<const TableRecord*> all;
  std::vector<std::string> texts;
  std::vector<Amount> amounts;             // rising
  std::vector<size_t> seeds;               // as many of each text at each amount
  std::vector<const TableRecord*> placed;  // [text][amount][seed]

  const TableRecord& At(size_t text, size_t amount, size_t seed) const {
    return *placed[(text * amounts.size() + amount) * seeds.size() + seed];
  }
};

void PlaceCells(CalibratedCells& cells) {
  std::map<std::pair<std::string, Amount>, std::map<size_t, const TableRecord*>> found;
  std::set<std::string> texts;
  std::set<Amount> amounts;
  std::set<size_t> seeds;
  for (const TableRecord* record : cells.all) {
    const std::string text = TextName(
        PublicName(record->Field("calibration.dataset")),
        record->Field("calibration.split") == "none" ? "" : record->Field("calibration.split"));
    const Amount amount = {CountOf(*record, "calibration.samples"),
                           CountOf(*record, "calibration.length")};
    const size_t seed = CountOf(*record, "calibration.seed");
    if (!found[{text, amount}].emplace(seed, record).second) {
      throw Error(fmt::format("expected one record of {} on {} of {}, seed {}, found two",
                              fmt::join(cells.names, ", "), AmountText(amount), text, seed),
                  "record " + record->stored.id, "choose with 'where'");
    }
    texts.insert(text);
    amounts.insert(amount);
    seeds.insert(seed);
  }
  cells.texts = {texts.begin(), texts.end()};
  cells.amounts = {amounts.begin(), amounts.end()};
  cells.seeds = {seeds.begin(), seeds.end()};
  for (const std::string& text : cells.texts) {
    for (const Amount& amount : cells.amounts) {
      const auto& of = found[{text, amount}];
      for (const size_t seed : cells.seeds) {
        const auto at = of.find(seed);
        if (at == of.end()) {
          throw Error(fmt::format("expected each seed on each amount of each text, found no {} on "
                                  "{} of {}, seed {}",
                                  fmt::join(cells.names, ", "), AmountText(amount), text, seed),
                      "records", "choose with 'where', or measure what is missing");
        }
        cells.placed.push_back(at->second);
      }
    }
  }
}

std::vector<CalibratedCells> CellsByMethod(const TableRecords& records) {
  std::vector<CalibratedCells> methods;
  for (const auto& [key, of_windows] : ByWindows(records)) {
    RequireSameWindows(of_windows);
    std::map<std::vector<std::string>, CalibratedCells> by_name;
    for (const TableRecord* record : of_windows) {
      if (record->Field("calibration.used_by") != "method") continue;
      CalibratedCells& cells = by_name[CellNames(*record)];
      cells.names = CellNames(*record);
      cells.all.push_back(record);
    }
    for (auto& [names, cells] : by_name) {
      PlaceCells(cells);
      if (cells.seeds.size() > 1) methods.push_back(std::move(cells));
    }
  }
  if (methods.empty()) {
    throw Error("expected cells of methods that calibrate, on two seeds or more, found none",
                "records", "calibration: {seeds: [0, 1, 2, 3]}");
  }
  return methods;
}

double DeltaNll(const TableRecord& record) { return record.numbers.at("delta_nll").value; }

// The variance of a cell's ΔNLL that comes from having measured these windows and no others: of the
// difference of two seeds half is either's. On average over all pairs; nullopt of too few windows.
std::optional<double> WindowVariance(const CalibratedCells& cells) {
  double sum = 0, pairs = 0;
  for (size_t t = 0; t < cells.texts.size(); ++t) {
    for (size_t a = 0; a < cells.amounts.size(); ++a) {
      for (size_t s = 0; s < cells.seeds.size(); ++s) {
        for (size_t other = 0; other < s; ++other) {
          const StoredRecord& one = cells.At(t, a, s).stored;
          const auto interval = MeanInterval(DifferenceBlocks(
              one.window_nll, cells.At(t, a, other).stored.window_nll, one.window_scored));
          if (!interval) continue;
          sum += interval->standard_error * interval->standard_error / 2;
          ++pairs;
        }
      }
    }
  }
  if (pairs == 0) return std::nullopt;
  return sum / pairs;
}

// Of all cells, or those at one amount.
VarianceComponents ComponentsOf(const CalibratedCells& cells, std::optional<size_t> amount) {
  std::vector<double> values;
  for (size_t t = 0; t < cells.texts.size(); ++t) {
    for (size_t a = 0; a < cells.amounts.size(); ++a) {
      if (amount && a != *amount) continue;
      for (size_t s = 0; s < cells.seeds.size(); ++s) values.push_back(DeltaNll(cells.At(t, a, s)));
    }
  }
  return SplitVariance({.groups = cells.texts.size(),
                        .levels = amount ? 1 : cells.amounts.size(),
                        .seeds = cells.seeds.size(),
                        .values = values});
}

// "0.00123 [0.00071, 0.00456]": a variance as a deviation.
std::string DeviationText(const VarianceComponent& component) {
  return fmt::format("{:.5f} [{:.5f}, {:.5f}]", std::sqrt(component.variance),
                     std::sqrt(component.low), std::sqrt(component.high));
}

class ComponentRows {
 public:
  ComponentRows(const CalibratedCells& cells, AnalysisTable& table)
      : cells_(cells), table_(table) {}

  // Nothing that has no spread is a row.
  void Add(const std::string& effect, const std::optional<VarianceComponent>& component,
           std::optional<double> mean = {}) {
    if (!component) return;
    Put(effect, mean ? fmt::format("{:.5f}", *mean) : "-", std::to_string(component->freedom),
        DeviationText(*component));
  }

  void Put(const std::string& effect, const std::string& mean, const std::string& freedom,
           const std::string& deviation) {
    std::vector<std::string> row = cells_.names;
    for (const std::string& cell : {effect, mean, freedom, deviation}) row.push_back(cell);
    table_.rows.push_back(std::move(row));
  }

 private:
  const CalibratedCells& cells_;
  AnalysisTable& table_;
};

void AddComponents(const CalibratedCells& cells, AnalysisTable& table) {
  ComponentRows rows(cells, table);
  std::vector<std::string> at_amounts;
  for (size_t a = 0; a < cells.amounts.size(); ++a) {
    const VarianceComponents here = ComponentsOf(cells, a);
    rows.Add("seeds at " + AmountText(cells.amounts[a]), here.seed, here.mean);
    at_amounts.push_back(fmt::format("{} at {} (mean {:.4f})", DeviationText(*here.seed),
                                     AmountText(cells.amounts[a]), here.mean));
  }
  const VarianceComponents all = ComponentsOf(cells, std::nullopt);
  if (cells.amounts.size() > 1) rows.Add("seeds, at all amounts alike", all.seed, all.mean);
  rows.Add("seeds by amount", all.rest);
  rows.Add("amounts", all.level);
  rows.Add("texts", all.group);
  rows.Add("texts by amount", all.group_level);
  const std::optional<double> windows = WindowVariance(cells);
  rows.Put("of seeds: the windows measured", "-", "-",
           windows ? fmt::format("{:.5f}", std::sqrt(*windows)) : "-");
  std::string answer =
      fmt::format("**{}, {}: what do other calibration samples change?** ΔNLL by {}",
                  cells.names[3], cells.names[2], fmt::join(at_amounts, ", "));
  if (all.level) answer += fmt::format("; other amounts by {}", DeviationText(*all.level));
  if (all.group) answer += fmt::format("; other texts by {}", DeviationText(*all.group));
  table.answers.push_back(answer + ".");
}

}  // namespace

AnalysisTable VarianceComponentsAnalysis(const TableRecords& records, size_t) {
  AnalysisTable table{.header = CellNameFields(), .names = CellNameFields().size() + 1};
  for (const char* column : {"what varies", "mean ΔNLL", "degrees of freedom", "deviation (nats)"})
    table.header.emplace_back(column);
  for (const CalibratedCells& cells : CellsByMethod(records)) AddComponents(cells, table);
  table.notes = {
      "Standard deviations of ΔNLL between cells that differ in what they were calibrated on, with "
      "95 % intervals: variance components of the balanced experiment, effects taken as normal. Of "
      "two or three texts or amounts little is known of their spread, and the interval says so.",
      "A seed's samples at one amount are among its samples at any larger one. Of seeds: the part "
      "of their spread that comes from having measured on these windows and no others."};
  return table;
}

}  // namespace quantref
