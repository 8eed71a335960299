#include <fmt/format.h>
#include <fmt/ranges.h>

#include "eval/run/report.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

std::vector<TextColumn> LayerColumns(const std::vector<LayerReport>& layers) {
  std::vector<TextColumn> columns;
  const auto add = [&](const char* header, int worth, bool left, auto&& text) {
    columns.push_back({.name = header, .header = header, .left = left, .worth = worth});
    for (const LayerReport& layer : layers) columns.back().cells.push_back(text(layer));
  };
  add("layer", TextColumn::kNeeded, true, [](const LayerReport& l) { return l.name; });
  add("method", 60, true,
      [](const LayerReport& l) { return fmt::format("{} {}", l.method, SchemeName(l.scheme)); });
  add("weight MSE", 50, false,
      [](const LayerReport& l) { return fmt::format("{:.3e}", l.weight_mse); });
  add("output error", 70, false, [](const LayerReport& l) {
    return l.output_error ? fmt::format("{:.3e}", *l.output_error) : "-";
  });
  add("scales", 20, false, [](const LayerReport& l) {
    return fmt::format("{:.2e} .. {:.2e}", l.scale_min, l.scale_max);
  });
  add("clipped", 40, false,
      [](const LayerReport& l) { return fmt::format("{:.2f} %", 100 * l.clipped_share); });
  add("time", 30, false, [](const LayerReport& l) { return fmt::format("{:.2f} s", l.seconds); });
  add("note", 25, true, [](const LayerReport& l) { return l.note; });
  return columns;
}

}  // namespace

std::string UnquantizedText(const std::string& config, const std::string& method) {
  return fmt::format(
      "{} of {} quantizes no matrix ('keep' and 'overrides' leave all as they are): it is the "
      "reference itself, and has no cell of its own\n",
      method, config);
}

std::string LayersText(const std::vector<CellResult>& cells, const TableView& view) {
  std::string text;
  for (const CellResult& cell : cells) {
    if (cell.layers.empty()) continue;
    const FittedTable table = FitTable(LayerColumns(cell.layers), view.width);
    text += fmt::format("\n{} {}\n{}", cell.config->name, cell.label, table.text);
    if (!table.left_out.empty())
      text += fmt::format("left out: {}\n", fmt::join(table.left_out, ", "));
  }
  return text + Wrapped(
                    "\noutput error: squared error of the outputs on calibration inputs over "
                    "their squares\n",
                    view.width);
}

}  // namespace quantref
