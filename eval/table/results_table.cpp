#include "eval/table/results_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "eval/record/pairing.h"
#include "eval/record/scheme_text.h"
#include "eval/support/figure_text.h"
#include "eval/support/nearest.h"
#include "eval/support/progress_bar.h"
#include "eval/support/text_table.h"
#include "eval/table/results_speed.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

constexpr const char* kAllColumns = "all";

std::optional<Figure> FigureOf(const Result& result, const std::string& metric) {
  const auto number = result.table.numbers.find(metric);
  if (number == result.table.numbers.end()) return std::nullopt;
  return Figure{number->second.value, number->second.low, number->second.high};
}

// The change of PPL in per cent, with its interval.
std::string ChangeText(const Result& result) {
  const std::optional<Figure> delta = FigureOf(result, "delta_nll");
  if (!delta) return "-";
  const auto percent = [](double delta_nll) { return 100 * std::expm1(delta_nll); };
  const double change = percent(delta->value);
  if (!delta->low) return FigureText(change, 3, true);
  const double low = percent(*delta->low), high = percent(*delta->high);
  const auto digits = static_cast<size_t>(DecimalsOf((high - low) / 2).value_or(3));
  return fmt::format("{} [{}, {}]", FigureText(change, digits, true), FigureText(low, digits, true),
                     FigureText(high, digits, true));
}

const Result* BestQuantized(const Results& results) {
  const Result* best = nullptr;
  size_t count = 0;
  for (const Result& result : results) {
    if (!FigureOf(result, "delta_nll") || InDoubt(result.table.stored.stamps)) continue;
    ++count;
    if (best == nullptr || result.table.stored.MeanNll() < best->table.stored.MeanNll())
      best = &result;
  }
  return count > 1 ? best : nullptr;  // one alone is no contest
}

// What the intervals say of a cell's place, beside the reference and the best; nothing where its
// numbers are in doubt.
std::string Verdict(const Result& result, const Result* best) {
  if (InDoubt(result.table.stored.stamps)) return "in doubt";
  const std::optional<Figure> delta = FigureOf(result, "delta_nll");
  if (!delta || !delta->low) return "";
  std::string verdict;
  const auto add = [&](const std::string& word) {
    verdict += (verdict.empty() ? "" : ", ") + word;
  };
  if (HoldsNoDifference({delta->value, *delta->low, *delta->high}))
    add("= " + result.Fields().TextOr("accuracy.reference", "fp16"));
  if (&result == best) {
    add("best");
  } else if (best != nullptr && AreTied(result.table.stored, best->table.stored)) {
    add("= best");
  }
  return verdict;
}

// A column with what stands in each row.
template <typename F>
TextColumn Column(const char* name, const char* header, int worth, const Results& results,
                  F&& text) {
  TextColumn column{.name = name, .header = header, .worth = worth};
  for (const Result& result : results) column.cells.push_back(text(result));
  return column;
}

// A column of figures whose intervals may be written as ±: one way of writing them for all.
TextColumn Figures(const char* name, const char* header, int worth, const std::string& metric,
                   size_t digits, const Results& results) {
  std::vector<std::optional<Figure>> figures;
  for (const Result& result : results) figures.push_back(FigureOf(result, metric));
  TextColumn column{.name = name, .header = header, .worth = worth};
  column.cells = FigureColumn(figures, digits);
  return column;
}

// Columns that have a shorter form, without intervals; those that a cell has something for.
void AddDivergence(const Results& results, std::vector<TextColumn>& columns) {
  const auto add = [&](TextColumn column, const char* brief, const std::string& metric,
                       auto&& brief_text) {
    const auto has = [&](const Result& result) { return FigureOf(result, metric).has_value(); };
    if (std::ranges::none_of(results, has)) return;
    column.brief_header = brief;
    column.brief_cells.emplace();
    for (const Result& result : results) {
      const std::optional<Figure> figure = FigureOf(result, metric);
      column.brief_cells->push_back(figure ? brief_text(figure->value) : "-");
    }
    columns.push_back(std::move(column));
  };
  add(Figures("kl", "KL (nats)", 70, "kl_mean", 5, results), "KL", "kl_mean",
      [](double kl) { return fmt::format("{:.3g}", kl); });
  add(Figures("top1", "same top-1 (%)", 65, "top1", 2, results), "top-1", "top1",
      [](double share) { return fmt::format("{:.1f}", share); });
}

void AddSpeeds(const Results& results, std::vector<TextColumn>& columns) {
  const SpeedColumns speed = MakeSpeedColumns(results);
  for (size_t c = 0; c < speed.header.size(); ++c) {
    const std::string name = speed.header[c].substr(0, speed.header[c].find(' '));
    TextColumn column{.name = name, .header = speed.header[c], .worth = name == "decode" ? 45 : 40};
    column.brief_header = name;
    for (const std::vector<std::string>& row : speed.rows) column.cells.push_back(row[c]);
    columns.push_back(std::move(column));
  }
}

bool HoldsSpeed(const TextColumn& column) {
  return column.name == "prefill" || column.name == "decode";
}

std::string TimeText(const Result& result) {
  const RecordFields fields = result.Fields();
  return FormatDuration(fields.NumberOr("seconds.quantize", 0) +
                        fields.NumberOr("seconds.evaluate", 0));
}

// Of the input channels, those that LLM.int8() multiplies apart: "0.42, most 3.1".
std::string OutlierText(const Result& result) {
  const RecordFields fields = result.Fields();
  if (!fields.Has("outlier_channels.share")) return "-";
  return fmt::format("{:.2f}, most {:.1f}", 100 * fields.Number("outlier_channels.share"),
                     100 * fields.NumberOr("outlier_channels.share_max", 0));
}

std::vector<TextColumn> ResultColumns(const Results& results) {
  std::vector<TextColumn> columns;
  const auto add = [&](const char* name, const char* header, int worth, bool left, auto&& text) {
    columns.push_back(Column(name, header, worth, results, text));
    columns.back().left = left;
  };
  constexpr int kNeeded = TextColumn::kNeeded;
  const auto config = [](const Result& result) { return result.cell().config; };
  if (std::ranges::any_of(results,
                          [&](const Result& r) { return config(r) != config(results[0]); }))
    add("config", "config", kNeeded, true, config);
  add("method", "method", kNeeded, true, [](const Result& result) { return result.Label(); });
  add("weights", "weights", 50, true, [](const Result& result) {
    const std::string scheme = SchemeText(result.Fields());
    return scheme == "none" ? "-" : scheme;
  });
  add("bits", "bits/weight", 60, false, [](const Result& result) {
    return fmt::format("{:.3f}", result.Fields().Number("effective_bits"));
  });
  columns.back().brief_header = "bits";
  if (results.front().table.synthetic) {  // speed alone
    AddSpeeds(results, columns);
    return columns;
  }
  columns.push_back(Figures("ppl", "PPL", 100, "ppl", 4, results));
  add("change", "change (%)", 90, false, ChangeText);
  const Result* best = BestQuantized(results);
  add("change", "", 90, true, [&](const Result& result) { return Verdict(result, best); });
  AddDivergence(results, columns);
  const auto has_outliers = [](const Result& r) {
    return r.Fields().Has("outlier_channels.share");
  };
  if (std::ranges::any_of(results, has_outliers))
    add("outliers", "outlier channels (%)", 35, false, OutlierText);
  AddSpeeds(results, columns);
  add("time", "time", 10, false, TimeText);
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

}  // namespace

const std::vector<std::string>& ResultColumnNames() {
  static const std::vector<std::string> names = {
      "weights", "bits", "ppl", "change", "kl", "top1", "outliers", "prefill", "decode", "time"};
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

ShownTable ResultTable(const Results& results, const TableView& view) {
  const std::vector<TextColumn> columns = ResultColumns(results);
  const bool speeds = std::ranges::any_of(columns, HoldsSpeed);
  if (view.columns == std::vector<std::string>{kAllColumns})
    return {FitTable(columns, std::nullopt).text};
  if (!view.columns.empty()) {
    const std::vector<TextColumn> chosen = Chosen(columns, view.columns);
    return {FitTable(chosen, view.width).text, speeds && std::ranges::none_of(chosen, HoldsSpeed)};
  }
  const FittedTable table = FitTable(columns, view.width);
  if (table.left_out.empty()) return {table.text};
  const std::string left_out =
      fmt::format("left out, for lines of {}: {}\n", *view.width, fmt::join(table.left_out, ", "));
  const std::string hint = fmt::format("  --columns {} shows all, --columns ppl,{} some\n",
                                       kAllColumns, table.left_out.back());
  const bool shown = std::ranges::any_of(columns, [&](const TextColumn& column) {
    return HoldsSpeed(column) && std::ranges::count(table.left_out, column.name) == 0;
  });
  return {table.text + Wrapped(left_out, view.width) + hint, speeds && !shown};
}

}  // namespace quantref
