#include "eval/table/results_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "eval/record/pairing.h"
#include "eval/record/scheme_text.h"
#include "eval/support/figure_text.h"
#include "eval/support/nearest.h"
#include "eval/support/progress_bar.h"
#include "eval/support/text_table.h"
#include "eval/table/best.h"
#include "eval/table/render.h"
#include "eval/table/results_cells.h"
#include "eval/table/results_speed.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

constexpr const char* kAllColumns = "all";

// What the intervals say of a cell's place, beside the reference and the best; nothing where its
// numbers are in doubt.
std::string Verdict(const Result& result, const std::optional<TableCell>& cell) {
  if (InDoubt(result.table.stored.stamps)) return "in doubt";
  if (!cell) return "";
  std::vector<std::string> words;
  const auto found = result.table.numbers.find("delta_nll");
  const Figure delta = found == result.table.numbers.end() ? Figure{} : found->second;
  if (delta.low && HoldsNoDifference({delta.value, *delta.low, *delta.high}))
    words.push_back("= " + result.Fields().TextOr("accuracy.reference", "fp16"));
  if (cell->mark != CellMark::kNone) words.emplace_back(cell->first ? "best" : "= best");
  return fmt::format("{}", fmt::join(words, ", "));
}

// A column with what stands in each row.
template <typename F>
TextColumn Column(const char* name, const char* header, int worth, const Results& results,
                  F&& text) {
  TextColumn column{.name = name, .header = header, .worth = worth};
  for (const Result& result : results) column.cells.push_back(text(result));
  return column;
}

// Without its interval, of whose half width one digit is told then.
std::string BriefText(const Figure& figure, const TableMetric& metric) {
  const size_t digits = DigitsOf(figure, metric.digits);
  const bool shorter = figure.low && digits > 0;
  return FigureText(figure.value, shorter ? digits - 1 : digits, metric.is_signed);
}

TextColumn Figures(const Table& table, size_t c) {
  const TableValue& shows = *table.columns[c].shows;
  const ResultMetric& metric = ResultMetricOf(table.columns[c]);
  TextColumn column{.name = metric.name, .header = shows.header, .worth = metric.worth};
  std::vector<std::string> brief;
  for (const auto& row : table.cells) {
    column.cells.push_back(row[c] ? NumberWithInterval(CellNumber(*row[c], shows)) : "-");
    brief.push_back(row[c] ? BriefText(row[c]->number, *shows.metric) : "-");
  }
  if (metric.brief_header == nullptr) return column;
  column.brief_header = metric.brief_header;
  column.brief_cells = std::move(brief);
  return column;
}

// What the figures of a column with marks say, beside them.
TextColumn Verdicts(const Results& results, const Table& table, size_t c) {
  const ResultMetric& metric = ResultMetricOf(table.columns[c]);
  TextColumn column{.name = metric.name, .left = true, .worth = metric.worth};
  for (size_t row = 0; row < results.size(); ++row)
    column.cells.push_back(Verdict(results[row], table.cells[row][c]));
  return column;
}

void AddFigures(const Results& results, const Table& table, std::vector<TextColumn>& columns) {
  for (size_t c = 0; c < table.columns.size(); ++c) {
    columns.push_back(Figures(table, c));
    if (table.columns[c].shows->marks) columns.push_back(Verdicts(results, table, c));
  }
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

std::vector<TextColumn> ResultColumns(const Results& results, const Table& table) {
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
  AddFigures(results, table, columns);
  const auto has_outliers = [](const Result& r) {
    return r.Fields().Has("outlier_channels.share");
  };
  if (std::ranges::any_of(results, has_outliers))
    add("outliers", "outlier channels (%)", 35, false, OutlierText);
  AddSpeeds(results, columns);
  if (!results.front().table.synthetic) add("time", "time", 10, false, TimeText);
  return columns;
}

// Why the best was not looked for, where that is not said in the rows and verdicts are shown.
std::string UnmarkedText(const Table& table, const std::vector<std::string>& shown) {
  const auto is_shown = [&](const TableColumn& column) {
    return column.shows->marks && std::ranges::count(shown, ResultMetricOf(column).name) > 0;
  };
  std::string text;
  if (std::ranges::none_of(table.columns, is_shown)) return text;
  for (const std::string& why : table.unmarked) {
    if (why != kInDoubt) text += fmt::format("where {}, no best is told\n", why);
  }
  return text;
}

std::vector<std::string> NamesOf(const std::vector<TextColumn>& columns) {
  std::vector<std::string> names;
  for (const TextColumn& column : columns) names.push_back(column.name);
  return names;
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
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all = {"weights"};
    for (const ResultMetric& metric : ResultMetrics()) all.emplace_back(metric.name);
    all.insert(all.end(), {"outliers", "prefill", "decode", "time"});
    return all;
  }();
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
  const ResultCells cells(results);
  std::vector<TextColumn> columns = ResultColumns(results, cells.table());
  const bool speeds = std::ranges::any_of(columns, HoldsSpeed);
  const bool all = view.columns == std::vector<std::string>{kAllColumns};
  if (!all && !view.columns.empty()) columns = Chosen(columns, view.columns);
  const FittedTable table = FitTable(columns, all ? std::nullopt : view.width);
  std::erase_if(columns, [&](const TextColumn& column) {
    return std::ranges::count(table.left_out, column.name) > 0;
  });
  ShownTable shown{table.text, speeds && std::ranges::none_of(columns, HoldsSpeed)};
  shown.text += Wrapped(UnmarkedText(cells.table(), NamesOf(columns)), view.width);
  if (table.left_out.empty()) return shown;
  shown.text += Wrapped(
      fmt::format("left out, for lines of {}: {}\n", *view.width, fmt::join(table.left_out, ", ")),
      view.width);
  shown.text += fmt::format("  --columns {} shows all, --columns ppl,{} some\n", kAllColumns,
                            table.left_out.back());
  return shown;
}

}  // namespace quantref
