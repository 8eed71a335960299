#include "eval/table/results_ledger.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "eval/stats/stats.h"
#include "eval/support/figure_text.h"
#include "eval/support/public_name.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

constexpr size_t kLedgerDigits = 5;  // of figures without an interval
constexpr const char* kNatsOfNll = "ΔNLL (nats)";
constexpr const char* kNatsOfKl = "KL (nats)";

std::optional<Figure> MeanAt(const RecordFields& fields, const std::string& path,
                             const std::string& interval) {
  if (!fields.Has(path)) return std::nullopt;
  Figure figure{fields.Number(path)};
  if (fields.Has(interval)) {
    const auto [low, high] = fields.Interval(interval);
    figure.low = low;
    figure.high = high;
  }
  return figure;
}

std::optional<Figure> MeanAt(const RecordFields& fields, const std::string& path) {
  return MeanAt(fields, path, path + "_ci95");
}

using MeanColumn = std::vector<std::optional<Figure>>;

// Left out where nothing stands in it. In short without intervals.
void AddMeans(const char* name, const std::string& header, int worth, const MeanColumn& means,
              std::vector<TextColumn>& columns) {
  if (std::none_of(means.begin(), means.end(), [](const auto& mean) { return mean.has_value(); }))
    return;
  TextColumn column{.name = name, .header = header, .worth = worth};
  column.cells = FigureColumn(means, kLedgerDigits);
  column.brief_cells.emplace();
  for (const std::optional<Figure>& mean : means)
    column.brief_cells->push_back(mean ? fmt::format("{:.3g}", mean->value) : "-");
  columns.push_back(std::move(column));
}

// "62 %" of the last row, the whole.
void AddShares(const char* name, const MeanColumn& means, std::vector<TextColumn>& columns) {
  if (!means.back() || means.back()->value == 0) return;
  TextColumn column{.name = name, .header = "of it", .worth = 40};
  for (const std::optional<Figure>& mean : means) {
    column.cells.push_back(mean ? FigureText(100 * mean->value / means.back()->value, 1) + " %"
                                : "-");
  }
  columns.push_back(std::move(column));
}

std::string StepName(const std::string& name) {
  constexpr std::pair<const char*, const char*> kNames[] = {{"weights", "weight rounding"},
                                                            {"activations", "activation rounding"},
                                                            {"kv_cache", "rounded cache"},
                                                            {"kernels", "kernel arithmetic"}};
  for (const auto& [step, text] : kNames)
    if (step == name) return text;
  return name;
}

std::string TableText(std::vector<TextColumn> columns, const TableView& view) {
  const FittedTable table = FitTable(std::move(columns), view.width);
  if (table.left_out.empty()) return table.text;
  return table.text + fmt::format("left out: {}\n", fmt::join(table.left_out, ", "));
}

std::string StepsText(const RecordFields& fields, const TableView& view) {
  TextColumn names{.name = "part", .header = "part", .left = true};
  MeanColumn nll, kl;
  for (const RecordFields& part : fields.Maps("ledger.parts")) {
    names.cells.push_back(StepName(part.Text("name")));
    nll.push_back(MeanAt(part, "delta_nll"));
    kl.push_back(MeanAt(part, "kl"));
  }
  names.cells.emplace_back("whole");
  nll.push_back(MeanAt(fields, "accuracy.delta_nll"));
  kl.push_back(MeanAt(fields, "accuracy.kl_mean", "accuracy.kl_ci95"));
  std::vector<TextColumn> columns = {std::move(names)};
  AddMeans("nll", kNatsOfNll, 90, nll, columns);
  AddShares("nll share", nll, columns);
  AddMeans("kl", kNatsOfKl, 80, kl, columns);
  AddShares("kl share", kl, columns);
  const double residual = std::max(std::abs(fields.NumberOr("ledger.delta_nll_residual", 0)),
                                   std::abs(fields.NumberOr("ledger.kl_residual", 0)));
  return TableText(std::move(columns), view) +
         fmt::format("the parts sum to the whole but for {:.1e} nats\n", residual);
}

// What a row of items is sorted by: KL, which no luck of the text makes negative, where there is.
double SortValue(const RecordFields& item) {
  return item.NumberOr("alone_kl", item.NumberOr("alone_delta_nll", 0));
}

std::vector<RecordFields> ItemsOf(const RecordFields& blocks, const std::string& kind) {
  std::vector<RecordFields> items;
  for (const RecordFields& item : blocks.Maps("items")) {
    const std::string of = item.TextOr("of", "");
    if (of == kind || of == "end") items.push_back(item);
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const auto& a, const auto& b) { return SortValue(a) > SortValue(b); });
  return items;
}

// The items, and what they add up to beside the whole.
MeanColumn AloneColumn(const RecordFields& blocks, const std::vector<RecordFields>& items,
                       const std::string& kind, const std::string& quantity) {
  MeanColumn column;
  for (const RecordFields& item : items) column.push_back(MeanAt(item, "alone_" + quantity));
  const auto whole = MeanAt(blocks, quantity);
  const auto residual = MeanAt(blocks, kind + "_residual_" + quantity);
  column.push_back(whole && residual ? std::optional(Figure{whole->value - residual->value})
                                     : std::nullopt);
  column.push_back(residual);
  column.push_back(whole);
  return column;
}

MeanColumn WonColumn(const std::vector<RecordFields>& items, const std::string& quantity) {
  MeanColumn column;
  for (const RecordFields& item : items) column.push_back(MeanAt(item, "won_" + quantity));
  if (std::any_of(column.begin(), column.end(), [](const auto& mean) { return mean.has_value(); }))
    column.insert(column.end(), 3, std::nullopt);
  return column;
}

// Of blocks, or of kinds.
std::string ItemsText(const RecordFields& blocks, const std::string& kind, const TableView& view) {
  const std::vector<RecordFields> items = ItemsOf(blocks, kind);
  const auto is_one = [&](const RecordFields& item) { return item.TextOr("of", "") == kind; };
  if (std::none_of(items.begin(), items.end(), is_one)) return "";
  TextColumn names{.name = kind, .header = kind, .left = true};
  for (const RecordFields& item : items) names.cells.push_back(item.Text("name"));
  for (const char* row : {"their sum", "together beyond it", "whole"})
    names.cells.emplace_back(row);
  std::vector<TextColumn> columns = {std::move(names)};
  const auto add = [&](const char* name, const char* header, int worth, const MeanColumn& means) {
    AddMeans(name, header, worth, means, columns);
  };
  add("alone nll", "alone: ΔNLL", 90, AloneColumn(blocks, items, kind, "delta_nll"));
  add("alone kl", "alone: KL", 80, AloneColumn(blocks, items, kind, "kl"));
  add("won nll", "won: ΔNLL", 60, WonColumn(items, "delta_nll"));
  add("won kl", "won: KL", 50, WonColumn(items, "kl"));
  return "\n" + TableText(std::move(columns), view);
}

std::string BlocksText(const RecordFields& fields, const TableView& view) {
  if (const std::string why = fields.TextOr("ledger.blocks_left_out", ""); !why.empty())
    return Wrapped("no blocks and kinds: " + why + "\n", view.width);
  if (!fields.Has("ledger.blocks")) return "";
  const RecordFields blocks = fields.Map("ledger.blocks");
  const size_t windows = blocks.Find("window_index") ? blocks.Find("window_index")->size() : 0;
  std::string about = fmt::format(
      "\nalone: it alone is quantized; won: what the cell wins where it alone is not. On {} of "
      "{}{}\n",
      Plural(windows, "window"),
      TextName(PublicName(blocks.TextOr("dataset", "")), blocks.TextOr("split", "")),
      blocks.Flag("substituted_sample") ? " (NOT WIKITEXT: the bundled sample)" : "");
  if (blocks.Flag("is_test_text")) about += "TEST TEXT: what is found here is not for choosing\n";
  if (windows < kMinBlocks)
    about += fmt::format("no intervals: they need {} windows or more\n", kMinBlocks);
  return Wrapped(about, view.width) + ItemsText(blocks, "block", view) +
         ItemsText(blocks, "kind", view);
}

}  // namespace

std::string LedgersText(const Results& results, const TableView& view) {
  std::string text;
  for (const Result& result : results) {
    const RecordFields fields = result.Fields();
    if (fields.Maps("ledger.parts").empty()) continue;
    text += fmt::format("\nledger of {} {}\n", result.cell().config, result.Label()) +
            StepsText(fields, view) + BlocksText(fields, view);
  }
  return text;
}

}  // namespace quantref
