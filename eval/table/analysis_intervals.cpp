#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "eval/stats/coverage.h"
#include "eval/table/analyses.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"

namespace quantref {
namespace {

constexpr size_t kErrorDigits = 3;  // significant ones of standard errors
constexpr size_t kPartSizes[] = {8, 16, 24, 32, 64, 128, 256};
constexpr size_t kDrawnParts = 100;

// In the order in which they are said.
constexpr const char* kQuantityOrder[] = {"NLL", "ΔNLL", "KL", "same top-1"};

// Windows of all records of a group, where there are enough for an interval.
void RequireIntervals(const RecordGroups& groups, size_t least) {
  for (const auto& [key, records] : groups) {
    RequireSameWindows(records);
    const size_t windows = records[0]->stored.window_nll.size();
    if (windows >= least) continue;
    throw Error(fmt::format("expected {} windows or more, found {}", least, windows),
                "record " + records[0]->stored.id, "choose records with 'where'");
  }
}

// How often an interval by tokens is too narrow, by quantity.
using Factors = std::map<std::string, std::vector<double>>;

std::string FactorsText(const Factors& factors, size_t digits) {
  std::vector<std::string> parts;
  for (const char* quantity : kQuantityOrder) {
    const auto at = factors.find(quantity);
    if (at != factors.end())
      parts.push_back(fmt::format("{} {}", quantity, RangeText(at->second, digits)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

// A quantity of a group in parts of one size: the mean over the group's cells of each share.
struct CoverageRow {
  std::vector<std::string> names;  // model, protocol, windows
  std::string quantity;
  std::vector<std::vector<Coverage>> cells;  // [size][cell]
};

std::vector<size_t> SizesFor(size_t windows) {
  std::vector<size_t> sizes;
  for (const size_t size : kPartSizes) {
    if (2 * size <= windows) sizes.push_back(size);
  }
  return sizes;
}

std::vector<CoverageRow> CoverageRows(const RecordGroups& groups, size_t threads) {
  std::vector<CoverageRow> rows;
  for (const auto& [key, records] : groups) {
    std::map<std::string, std::vector<WindowQuantity>> of;
    for (const TableRecord* record : records) {
      for (WindowQuantity& quantity : QuantitiesOf(*record)) of[quantity.name].push_back(quantity);
    }
    const std::vector<size_t> sizes = SizesFor(records[0]->stored.window_nll.size());
    for (const char* name : kQuantityOrder) {
      const std::vector<WindowQuantity>& cells = of[name];
      if (cells.empty()) continue;
      CoverageRow row{{key.begin(), key.begin() + 3}, name, {}};
      row.cells.assign(sizes.size(), std::vector<Coverage>(cells.size()));
      ParallelFor(sizes.size() * cells.size(), threads, [&](size_t i, size_t) {
        const WindowQuantity& cell = cells[i % cells.size()];
        row.cells[i / cells.size()][i % cells.size()] = HeldOutCoverage(
            cell.blocks, sizes[i / cells.size()], cell.token_error, kDrawnParts, i % cells.size());
      });
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

struct CoverageKind {
  const char* name;
  double Coverage::*share;
};
constexpr CoverageKind kCoverageKinds[] = {{"windows drawn", &Coverage::windows},
                                           {"drawn, not widened", &Coverage::not_widened},
                                           {"neighbouring windows", &Coverage::neighbours},
                                           {"drawn, by token", &Coverage::tokens}};

// In percent, a size each.
std::vector<double> Shares(const CoverageRow& row, double Coverage::*share) {
  std::vector<double> shares;
  for (const std::vector<Coverage>& cells : row.cells) {
    double sum = 0;
    for (const Coverage& cell : cells) sum += cell.*share;
    shares.push_back(100 * sum / static_cast<double>(cells.size()));
  }
  return shares;
}

std::string SharesText(const std::vector<CoverageRow>& rows, double Coverage::*share) {
  Factors shares;
  for (const CoverageRow& row : rows) {
    for (const double value : Shares(row, share)) shares[row.quantity].push_back(value);
  }
  return FactorsText(shares, 0);
}

}  // namespace

AnalysisTable StandardErrorsAnalysis(const TableRecords& records, size_t) {
  const RecordGroups groups = ByWindows(records);
  RequireIntervals(groups, kMinBlocks);
  AnalysisTable table{.header = CellNameFields(), .names = CellNameFields().size() + 1};
  for (const char* column : {"quantity", "mean", "error by token", "error by window", "times"})
    table.header.emplace_back(column);
  Factors factors;
  for (const auto& [key, of_windows] : groups) {
    for (const TableRecord* record : of_windows) {
      for (const WindowQuantity& quantity : QuantitiesOf(*record)) {
        const Interval interval = *MeanInterval(quantity.blocks);
        if (quantity.token_error <= 0) continue;  // nothing differs anywhere
        const double factor = interval.standard_error / quantity.token_error;
        std::vector<std::string> row = CellNames(*record);
        row.push_back(quantity.name);
        row.push_back(fmt::format("{:.5f}", interval.mean));
        row.push_back(fmt::format("{:#.{}g}", quantity.token_error, kErrorDigits));
        row.push_back(fmt::format("{:#.{}g}", interval.standard_error, kErrorDigits));
        row.push_back(fmt::format("{:.2f}", factor));
        table.rows.push_back(std::move(row));
        factors[quantity.name].push_back(factor);
      }
    }
  }
  table.notes = {
      "Standard errors of means a position, in nats (same top-1: a share): by token as if all "
      "positions were independent, by window from the spread between windows, and how many times "
      "the former the latter is."};
  table.answers = {fmt::format("**By how much is an error by token too small?** Times: {}.",
                               FactorsText(factors, 2))};
  return table;
}

AnalysisTable CoverageAnalysis(const TableRecords& records, size_t threads) {
  const RecordGroups groups = ByWindows(records);
  RequireIntervals(groups, 2 * kMinBlocks);
  const std::vector<CoverageRow> rows = CoverageRows(groups, threads);
  size_t sizes = 0;
  for (const CoverageRow& row : rows) sizes = std::max(sizes, row.cells.size());
  AnalysisTable table{.header = {"model", "protocol", "windows", "quantity", "intervals of"},
                      .names = 5};
  for (size_t s = 0; s < sizes; ++s) table.header.push_back(std::to_string(kPartSizes[s]));
  for (const CoverageRow& row : rows) {
    for (const CoverageKind& kind : kCoverageKinds) {
      std::vector<std::string> cells = row.names;
      cells.push_back(row.quantity);
      cells.emplace_back(kind.name);
      for (const double share : Shares(row, kind.share))
        cells.push_back(fmt::format("{:.1f}", share));
      cells.resize(table.header.size(), "-");
      table.rows.push_back(std::move(cells));
    }
  }
  table.notes = {
      fmt::format(
          "Of the 95 % intervals made from so many of a text's windows, the percentage that "
          "hold the mean of its other windows: of {} draws of windows a cell, and of runs of "
          "windows that follow each other; on average over cells.",
          kDrawnParts),
      "The other windows' mean has an error of its own, by which intervals are widened, but for "
      "'not widened'.",
      "By token: 1.96 standard errors of the mean if tokens were independent, widened."};
  table.answers = {
      fmt::format("**Do the intervals hold what the rest of the text shows?** Of windows drawn at "
                  "random in {} %.",
                  SharesText(rows, &Coverage::windows)),
      fmt::format("**Of the text's first windows, or any that follow each other?** In {} %.",
                  SharesText(rows, &Coverage::neighbours)),
      fmt::format("**Of intervals that take tokens as independent?** In {} %.",
                  SharesText(rows, &Coverage::tokens))};
  return table;
}

}  // namespace quantref
