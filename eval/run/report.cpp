#include "eval/run/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "eval/run/report_inputs.h"
#include "eval/run/report_speed.h"
#include "eval/support/figure_text.h"
#include "eval/support/nearest.h"
#include "eval/support/progress_bar.h"
#include "eval/support/text_table.h"
#include "harness/base/error.h"
#include "harness/base/machine.h"

namespace quantref {
namespace {

constexpr const char* kAllColumns = "all";

bool SeveralConfigs(const std::vector<CellResult>& cells) {
  return std::any_of(cells.begin(), cells.end(),
                     [&](const CellResult& cell) { return cell.config != cells.front().config; });
}

// "gptq: PPL 15.80 ± 0.02 (standard deviation over 4 calibration seeds)".
std::string SpreadLines(const std::vector<CellResult>& cells) {
  std::string text;
  std::set<const CellConfig*> told;
  for (const CellResult& cell : cells) {
    const std::optional<SeedSpread> spread = SpreadOver(cell);
    if (!spread || !std::isfinite(spread->mean) || !told.insert(cell.spec).second) continue;
    text += fmt::format("{}: PPL {} ± {}, mean and standard deviation over {} calibration seeds\n",
                        cell.method(), FigureText(spread->mean, 4),
                        FigureText(spread->deviation, 4), spread->seeds.size());
  }
  return text;
}

// The interval's ends go through `scale`, which grows.
template <typename Scale>
Figure AsFigure(const Estimate& estimate, const Scale& scale) {
  Figure figure{scale(estimate.mean)};
  if (!estimate.interval) return figure;
  figure.low = scale(estimate.interval->low);
  figure.high = scale(estimate.interval->high);
  return figure;
}

// The change of PPL in per cent, with its interval.
std::string ChangeCell(const Comparison& comparison) {
  const auto percent = [](double delta_nll) { return 100 * std::expm1(delta_nll); };
  const double change = percent(comparison.delta_nll.mean);
  const auto& interval = comparison.delta_nll.interval;
  if (!interval) return FigureText(change, 3, true);
  const double low = percent(interval->low), high = percent(interval->high);
  const auto digits = static_cast<size_t>(DecimalsOf((high - low) / 2).value_or(3));
  return fmt::format("{} [{}, {}]", FigureText(change, digits, true), FigureText(low, digits, true),
                     FigureText(high, digits, true));
}

const CellResult* BestQuantized(const std::vector<CellResult>& cells) {
  const CellResult* best = nullptr;
  size_t count = 0;
  for (const CellResult& cell : cells) {
    if (!cell.comparison) continue;
    ++count;
    if (best == nullptr || cell.perplexity.nll.mean < best->perplexity.nll.mean) best = &cell;
  }
  return count > 1 ? best : nullptr;  // one alone is no contest
}

// What the intervals say of a cell's place, beside the reference of this name and the best.
std::string Verdict(const CellResult& cell, const std::string& reference, const CellResult* best) {
  if (!cell.comparison || !cell.comparison->delta_nll.interval) return "";
  std::string verdict = cell.comparison->delta_nll.interval->Contains(0) ? "= " + reference : "";
  if (best == nullptr) return verdict;
  if (&cell == best) return verdict + (verdict.empty() ? "best" : ", best");
  for (const Against& other : cell.against) {
    const bool is_best = other.config == best->config->name && other.method == best->label;
    if (is_best && other.delta_nll.Contains(0)) verdict += verdict.empty() ? "= best" : ", = best";
  }
  return verdict;
}

// A column with what stands in each cell's row.
template <typename F>
TextColumn Column(const char* name, const char* header, int worth,
                  const std::vector<CellResult>& cells, F&& text) {
  TextColumn column{.name = name, .header = header, .worth = worth};
  for (const CellResult& cell : cells) column.cells.push_back(text(cell));
  return column;
}

// A column of figures whose intervals may be written as ±: one way of writing them for all.
template <typename F>
TextColumn Figures(const char* name, const char* header, int worth, size_t digits,
                   const std::vector<CellResult>& cells, F&& figure_of) {
  std::vector<std::optional<Figure>> figures;
  for (const CellResult& cell : cells) figures.push_back(figure_of(cell));
  TextColumn column{.name = name, .header = header, .worth = worth};
  column.cells = FigureColumn(figures, digits);
  return column;
}

std::optional<Figure> PplOf(const CellResult& cell) {
  return AsFigure(cell.perplexity.nll, [](double nll) { return std::exp(nll); });
}

bool HasKl(const CellResult& cell) { return cell.comparison && cell.config->accuracy.metrics.kl; }
bool HasTop1(const CellResult& cell) {
  return cell.comparison && cell.config->accuracy.metrics.top1;
}

std::optional<Figure> KlOf(const CellResult& cell) {
  if (!HasKl(cell)) return std::nullopt;
  return AsFigure(cell.comparison->kl, [](double kl) { return kl; });
}

std::optional<Figure> Top1Of(const CellResult& cell) {
  if (!HasTop1(cell)) return std::nullopt;
  return AsFigure(cell.comparison->top1, [](double share) { return 100 * share; });
}

// Columns that have a shorter form, without intervals; those that a cell has something for.
void AddDivergence(const std::vector<CellResult>& cells, std::vector<TextColumn>& columns) {
  const auto add = [&](TextColumn column, const char* brief, auto&& has, auto&& brief_text) {
    if (std::none_of(cells.begin(), cells.end(), has)) return;
    column.brief_header = brief;
    column.brief_cells.emplace();
    for (const CellResult& cell : cells)
      column.brief_cells->push_back(has(cell) ? brief_text(*cell.comparison) : "-");
    columns.push_back(std::move(column));
  };
  add(Figures("kl", "KL (nats)", 70, 5, cells, KlOf), "KL", HasKl,
      [](const Comparison& c) { return fmt::format("{:.3g}", c.kl.mean); });
  add(Figures("top1", "same top-1 (%)", 65, 2, cells, Top1Of), "top-1", HasTop1,
      [](const Comparison& c) { return fmt::format("{:.1f}", 100 * c.top1.mean); });
}

void AddSpeeds(const std::vector<CellResult>& cells, std::vector<TextColumn>& columns) {
  const SpeedColumns speed = MakeSpeedColumns(cells);
  for (size_t c = 0; c < speed.header.size(); ++c) {
    const std::string name = speed.header[c].substr(0, speed.header[c].find(' '));
    TextColumn column{.name = name, .header = speed.header[c], .worth = name == "decode" ? 45 : 40};
    column.brief_header = name;
    for (const std::vector<std::string>& row : speed.rows) column.cells.push_back(row[c]);
    columns.push_back(std::move(column));
  }
}

std::vector<TextColumn> ResultColumns(const std::vector<CellResult>& cells) {
  const CellResult* best = BestQuantized(cells);
  std::vector<TextColumn> columns;
  const auto add = [&](const char* name, const char* header, int worth, bool left, auto&& text) {
    columns.push_back(Column(name, header, worth, cells, text));
    columns.back().left = left;
  };
  constexpr int kNeeded = TextColumn::kNeeded;
  if (SeveralConfigs(cells))
    add("config", "config", kNeeded, true, [](const CellResult& c) { return c.config->name; });
  add("method", "method", kNeeded, true, [](const CellResult& c) { return c.label; });
  add("weights", "weights", 50, true, SchemeText);
  add("bits", "bits/weight", 60, false,
      [](const CellResult& c) { return fmt::format("{:.3f}", c.bits.blocks); });
  columns.back().brief_header = "bits";
  if (cells.front().config->model.synthetic) {  // speed alone
    AddSpeeds(cells, columns);
    return columns;
  }
  columns.push_back(Figures("ppl", "PPL", 100, 4, cells, PplOf));
  add("change", "change (%)", 90, false,
      [](const CellResult& c) { return c.comparison ? ChangeCell(*c.comparison) : "-"; });
  add("change", "", 90, true,
      [&](const CellResult& c) { return Verdict(c, c.reference_name, best); });
  AddDivergence(cells, columns);
  AddSpeeds(cells, columns);
  add("time", "time", 10, false,
      [](const CellResult& c) { return FormatDuration(c.quantize_seconds + c.evaluate_seconds); });
  return columns;
}

// Those asked for, in that order, behind what tells the rows apart; all of them are needed.
std::vector<TextColumn> Chosen(const std::vector<TextColumn>& columns,
                               const std::vector<std::string>& names) {
  std::vector<TextColumn> chosen;
  const auto take = [&](auto&& wanted) {
    std::copy_if(columns.begin(), columns.end(), std::back_inserter(chosen), wanted);
  };
  take([](const TextColumn& column) { return column.worth == TextColumn::kNeeded; });
  for (const std::string& name : names)
    take([&](const TextColumn& column) { return column.name == name; });
  for (TextColumn& column : chosen) column.worth = TextColumn::kNeeded;
  return chosen;
}

// Of the cells some of whose matrices have the codes of another method than their own.
std::string OtherMethodLines(const std::vector<CellResult>& cells) {
  std::string text;
  for (const CellResult& cell : cells) {
    for (const LayerReport& layer : cell.layers) {
      if (layer.asked.empty()) continue;
      text += fmt::format("{}: {} has the codes of {}, not of {}{}\n", cell.label, layer.name,
                          layer.method, layer.asked, layer.note.empty() ? "" : ": " + layer.note);
    }
  }
  return text;
}

// Of the cells whose perplexity no double holds, what is known all the same.
std::string BeyondLines(const std::vector<CellResult>& cells) {
  std::string text;
  for (const CellResult& cell : cells) {
    if (std::isfinite(cell.perplexity.ppl)) continue;
    text += fmt::format("{}: PPL beyond 1e308, mean NLL {:.1f} nats a token\n", cell.label,
                        cell.perplexity.nll.mean);
  }
  return text;
}

// What the marks and intervals mean, and how fine this text can see.
std::string Legend(const MeasuredOn& on, const std::vector<CellResult>& cells) {
  if (on.windows == 0) return "";
  if (on.windows < kMinBlocks) {
    return fmt::format("no intervals: they need {} windows or more\n", kMinBlocks);
  }
  double detectable = 0;
  for (const CellResult& cell : cells) {
    if (cell.comparison) detectable = std::max(detectable, cell.comparison->minimum_detectable);
  }
  const double change = 100 * std::expm1(detectable);
  if (detectable == 0) return "± and [ ]: 95 % intervals over windows\n";
  return fmt::format(
      "± and [ ]: 95 % intervals over windows, changes paired; \"=\": the interval holds no "
      "difference\n"
      "this text would show a true change of {} % PPL or more in 4 of 5 runs\n",
      std::isfinite(change) ? fmt::format("{:.2g}", change) : FigureText(change, 0));
}

}  // namespace

std::string SchemeText(const CellResult& cell) {
  if (cell.spec == nullptr) return "-";
  std::string scheme = SchemeName(cell.spec->quantize.weights);
  if (!cell.spec->quantize.overrides.empty()) scheme += " mixed";
  if (cell.spec->activations) scheme += ", " + ActivationName(*cell.spec->activations);
  return scheme;
}

const std::vector<std::string>& ResultColumnNames() {
  static const std::vector<std::string> names = {"weights", "bits",    "ppl",    "change", "kl",
                                                 "top1",    "prefill", "decode", "time"};
  return names;
}

void CheckColumns(const std::vector<std::string>& columns) {
  std::vector<std::string> known = ResultColumnNames();
  known.emplace_back(kAllColumns);
  for (const std::string& name : columns) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw Error(fmt::format("unknown column '{}'{}", name, DidYouMean(name, known)), "--columns");
    if (name == kAllColumns && columns.size() > 1)
      throw Error(fmt::format("'{}' stands alone", kAllColumns), "--columns");
  }
}

std::string ResultTable(const std::vector<CellResult>& cells, const TableView& view) {
  const std::vector<TextColumn> columns = ResultColumns(cells);
  if (view.columns == std::vector<std::string>{kAllColumns})
    return FitTable(columns, std::nullopt).text;
  if (!view.columns.empty()) return FitTable(Chosen(columns, view.columns), view.width).text;
  const FittedTable table = FitTable(columns, view.width);
  if (table.left_out.empty()) return table.text;
  return table.text +
         Wrapped(fmt::format("left out, for lines of {}: {}; --columns {} shows all, --columns "
                             "ppl,{} some\n",
                             *view.width, fmt::join(table.left_out, ", "), kAllColumns,
                             table.left_out.back()),
                 view.width);
}

std::string ResultText(const GroupResult& group, const std::vector<CellResult>& cells,
                       const TableView& view) {
  return ResultText(DescribeGroup(group), CalibrationLines(group, cells), cells, view);
}

std::string ResultText(const MeasuredOn& on, const std::string& notices,
                       const std::vector<CellResult>& cells, const TableView& view) {
  const std::string above = HeadlineText(on) + notices + SpeedHeadline(cells, on.environment);
  const std::string below = BeyondLines(cells) + OtherMethodLines(cells) + SpreadLines(cells) +
                            Legend(on, cells) + SpeedLegend(cells);
  return "\n" + Wrapped(above, view.width) + "\n" + ResultTable(cells, view) + "\n" +
         Wrapped(below, view.width);
}

std::string PlanText(const GroupResult& group, const std::vector<PlanRow>& rows, const Cost& cost) {
  const auto duration = [](double seconds) {
    return seconds > 0 ? FormatDuration(seconds) : std::string("-");
  };
  const bool passes = std::any_of(rows.begin(), rows.end(),
                                  [](const PlanRow& row) { return row.when != "pass 1"; });
  std::vector<std::string> header = {"config", "cell"};
  if (passes) header.emplace_back("when");
  header.insert(header.end(), {"quantized matrices", "quantize", "measure"});
  std::vector<std::vector<std::string>> cells;
  for (const PlanRow& row : rows) {
    const auto quantized =
        std::count_if(row.plan.begin(), row.plan.end(),
                      [](const PlannedLinear& linear) { return linear.scheme.has_value(); });
    cells.push_back({row.config, row.method});
    if (passes) cells.back().push_back(row.when);
    cells.back().push_back(row.plan.empty() ? "-"
                                            : fmt::format("{} of {}", quantized, row.plan.size()));
    cells.back().push_back(duration(row.quantize_seconds));
    cells.back().push_back(duration(row.seconds));
  }
  return fmt::format("{}\n{}\n{}", HeadlineText(DescribeGroup(group)),
                     RenderTable(header, cells, passes ? 3 : 2), CostText("expected", cost));
}

std::string CostText(const std::string& what, const Cost& cost) {
  if (cost.WorkSeconds() == 0) return fmt::format("{}: nothing to measure\n", what);
  std::string parts;
  const auto add = [&](double seconds, const char* doing) {
    if (seconds == 0) return;
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", FormatDuration(seconds), doing);
  };
  add(cost.load_seconds, "to load");
  add(cost.quantize_seconds, "to quantize");
  add(cost.seconds, "to measure");
  add(cost.throughput_seconds, "for throughput");
  return fmt::format(
      "{}: about {} ({}), up to {:.1f} GB of memory of {:.1f}, {:.1f} MB of records and "
      "up to {:.1f} MB of journal on disk\n",
      what, FormatDuration(cost.TotalSeconds()), parts, cost.memory_bytes / 1e9,
      static_cast<double>(MemoryBytes()) / 1e9, cost.record_bytes / 1e6, cost.journal_bytes / 1e6);
}

}  // namespace quantref
