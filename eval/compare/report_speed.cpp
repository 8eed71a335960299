#include "eval/compare/report_speed.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/compare/model_names.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

ReportCell RateCell(const std::optional<double>& tokens_s) {
  return {tokens_s ? fmt::format("{:.4g}", *tokens_s) : "-", tokens_s};
}

ReportCell RatioCell(const RateFinding& rate) {
  if (!rate.ratio) return {"-"};
  std::string text = fmt::format("{:.3f}", rate.ratio->ratio);
  if (const auto& interval = rate.ratio->interval)
    text += fmt::format(" [{:.3f}, {:.3f}]", interval->low, interval->high);
  return {std::move(text), rate.ratio->ratio};
}

// Named for what moved alone: of what did not there is nothing to blame.
std::string KernelCell(const RateFinding& rate) {
  if (rate.kernel)
    return fmt::format("{}: time x {:.2f}", rate.kernel->name.Text(), rate.kernel->ratio);
  const bool moved = rate.verdict == Verdict::kWorse || rate.verdict == Verdict::kBetter;
  return moved && rate.kernels > 0 ? "none of those timed" : "-";
}

}  // namespace

std::vector<SpeedRow> SpeedRows(const RecordComparison& comparison) {
  std::vector<SpeedRow> rows;
  for (const ComparedCell& cell : comparison.cells) {
    if (!cell.speed) continue;
    for (const RateFinding& rate : cell.speed->rates) rows.push_back({&cell, &rate});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const SpeedRow& a, const SpeedRow& b) {
    return a.rate->verdict < b.rate->verdict;
  });
  return rows;
}

ReportTable MakeSpeedTable(const std::vector<SpeedRow>& rows) {
  ComparedCells timed;
  for (const SpeedRow& row : rows) timed.push_back(row.cell);
  const ModelNames models(timed);
  ReportTable table{{"cell"}, {}};
  if (models.Several()) table.header.emplace_back("model");
  for (const char* name : {"speed", "verdict", "kernel"}) table.header.emplace_back(name);
  table.left = table.header.size();
  for (const char* name : {"tokens/s before", "now", "ratio"}) table.header.emplace_back(name);
  for (const SpeedRow& row : rows) {
    const RateFinding& rate = *row.rate;
    std::vector<ReportCell>& cells = table.rows.emplace_back();
    cells.push_back({row.cell->cell().Text()});
    if (models.Several()) cells.push_back({models.Of(*row.cell)});
    for (std::string text :
         {rate.name.Text(), std::string(VerdictName(rate.verdict)), KernelCell(rate)})
      cells.push_back({std::move(text)});
    for (ReportCell figure : {RateCell(rate.before), RateCell(rate.now), RatioCell(rate)})
      cells.push_back(std::move(figure));
  }
  return table;
}

std::string SpeedSummary(const std::vector<SpeedRow>& rows) {
  std::string line;
  for (const Verdict verdict : kVerdicts) {
    const auto count = std::count_if(rows.begin(), rows.end(), [&](const SpeedRow& row) {
      return row.rate->verdict == verdict;
    });
    if (count == 0) continue;
    line += fmt::format("{}{} {}", line.empty() ? "" : ", ",
                        WithThousands(static_cast<size_t>(count)), VerdictName(verdict));
  }
  return line;
}

}  // namespace quantref
