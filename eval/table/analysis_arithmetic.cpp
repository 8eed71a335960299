#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "eval/table/analyses.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

// A cell measured in several ways, each a config of its own; the first name in the alphabet is what
// the others are compared with.
using Ways = std::vector<const TableRecord*>;

std::string WayText(const TableRecord& record) {
  const std::string& threads = record.Field("environment.threads");
  return fmt::format("{}, {} kernels of BLAS, {} thread{}", record.Field("environment.isa"),
                     record.Field("environment.blas_core"), threads, threads == "1" ? "" : "s");
}

std::vector<std::pair<std::vector<std::string>, Ways>> CellsByWays(const TableRecords& records) {
  std::vector<std::pair<std::vector<std::string>, Ways>> cells;
  for (const auto& [key, of_windows] : ByWindows(records)) {
    RequireSameWindows(of_windows);
    std::map<std::vector<std::string>, Ways> by_name;
    for (const TableRecord* record : of_windows) by_name[CellNames(*record)].push_back(record);
    for (auto& [names, ways] : by_name) {
      std::stable_sort(ways.begin(), ways.end(), [](const TableRecord* a, const TableRecord* b) {
        return a->stored.cell.config < b->stored.cell.config;
      });
      if (ways.size() < 2) {
        throw Error(fmt::format("expected {} measured in two ways or more, found one: {}",
                                fmt::join(names, ", "), WayText(*ways[0])),
                    "record " + ways[0]->stored.id,
                    "QUANTREF_FORCE_ISA=scalar run_eval CONFIG --set name=CONFIG-scalar");
      }
      cells.emplace_back(names, ways);
    }
  }
  return cells;
}

// How far a way's NLLs are from the first's.
struct WayDifference {
  size_t windows = 0;         // that have other bits
  double mean = 0, most = 0;  // nats a token: over all, and in the window that has most
};

WayDifference DifferenceOf(const StoredRecord& way, const StoredRecord& first) {
  WayDifference difference;
  const auto blocks = DifferenceBlocks(way.window_nll, first.window_nll, way.window_scored);
  for (const BlockSum& block : blocks) {
    difference.windows += block.sum != 0;
    difference.most = std::max(difference.most, std::abs(block.sum / block.count));
  }
  difference.mean = BlockMean(blocks);
  return difference;
}

std::string NatsText(double nats) { return nats == 0 ? "0" : fmt::format("{:.1e}", nats); }

std::string MetricText(const TableRecord& record, const char* metric) {
  const auto at = record.numbers.find(metric);
  if (at == record.numbers.end()) return "-";
  const Figure& number = at->second;
  if (!number.low) return fmt::format("{:.6f}", number.value);
  return fmt::format("{:.6f} [{:.6f}, {:.6f}]", number.value, *number.low, *number.high);
}

}  // namespace

AnalysisTable ArithmeticAnalysis(const TableRecords& records, size_t) {
  AnalysisTable table{.header = CellNameFields(), .names = CellNameFields().size() + 1};
  for (const char* column :
       {"measured with", "effect: ΔNLL", "effect: KL", "windows of other bits",
        "NLL less the first's", "in a window at most", "KL of kernels beside FP32"})
    table.header.emplace_back(column);
  double most = 0, mean = 0;
  std::optional<double> effect;  // the smallest of a quantized cell
  for (const auto& [names, ways] : CellsByWays(records)) {
    for (const TableRecord* way : ways) {
      const WayDifference difference = DifferenceOf(way->stored, ways[0]->stored);
      std::vector<std::string> row = names;
      const std::string& kernels = way->Field("simulated_vs_kernel.kl_mean");
      for (const std::string& cell :
           {WayText(*way), MetricText(*way, "delta_nll"), MetricText(*way, "kl_mean"),
            fmt::format("{} of {}", difference.windows, way->stored.window_nll.size()),
            NatsText(difference.mean), NatsText(difference.most),
            kernels == "none" ? "-" : fmt::format("{:.1e}", std::stod(kernels))})
        row.push_back(cell);
      table.rows.push_back(std::move(row));
      most = std::max(most, difference.most);
      mean = std::max(mean, std::abs(difference.mean));
      const auto delta = way->numbers.find("delta_nll");
      if (delta != way->numbers.end())
        effect = std::min(effect.value_or(HUGE_VAL), std::abs(delta->second.value));
    }
  }
  table.notes = {
      "The same cells measured with other instruction sets, kernels of BLAS (each instruction set "
      "asks for its own) and numbers of threads; the first way in each cell is what the others are "
      "compared with, window by window. Effects are against the reference of the same run.",
      "KL of kernels beside FP32: of the logits that the integer kernels give beside those of the "
      "decoded weights in FP32 products, in one window."};
  std::string answer = fmt::format(
      "**How much does the machine's arithmetic change?** The mean NLL by {} nats at most, that of "
      "a window by {}",
      NatsText(mean), NatsText(most));
  if (effect)
    answer += fmt::format("; the smallest effect of quantization here is {:.1e}", *effect);
  table.answers = {answer + "."};
  return table;
}

}  // namespace quantref
