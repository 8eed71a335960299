#include "eval/anatomy/anatomy_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "eval/facts/texts.h"
#include "eval/stats/normal.h"
#include "eval/support/figure_text.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

// Of columns of cells' errors: that of the first cell is left out last.
constexpr int kWorthOfErrors = 90;

std::string AnatomyHeadline(const Anatomy& anatomy, size_t matrices) {
  std::string text =
      fmt::format("{}{} · anatomy of {} matrices, {} parameters\n", anatomy.model, anatomy.outliers,
                  WithThousands(matrices), WithThousands(static_cast<size_t>(anatomy.parameters)));
  if (!anatomy.decoded.empty()) {
    text += fmt::format(
        "The weights are those of a QUANTIZED file, decoded ({}): their shape is what its rounding "
        "left\n",
        anatomy.decoded);
  }
  return text;
}

std::string NoCellsText() {
  return "no cell rounds to nearest alone, so there are no rounding errors: add rtn to "
         "quantize.methods\n";
}

// What a normal distribution has of it; "-" where that depends on how many there are.
std::string NormalText(const AnatomyField& field) {
  const std::string_view name = field.name;
  for (const int deviations : {1, 2, 3}) {
    if (name == fmt::format("within_{}", deviations))
      return FigureText(field.times * NormalWithin(deviations),
                        static_cast<size_t>(field.decimals));
  }
  return name == "kurtosis" ? FigureText(0, static_cast<size_t>(field.decimals)) : "-";
}

std::string ValueText(const std::optional<double>& value, double times, int decimals) {
  return value ? FigureText(times * *value, static_cast<size_t>(decimals)) : "-";
}

std::vector<TextColumn> MatrixColumns(const Anatomy& anatomy) {
  std::vector<TextColumn> columns = {{.name = "matrix", .header = "matrix", .left = true}};
  columns[0].cells.emplace_back("(a normal one)");
  for (const MatrixAnatomy& matrix : anatomy.matrices) columns[0].cells.push_back(matrix.name);
  for (const AnatomyField& field : AnatomyFields()) {
    if (std::string_view(field.title).empty()) continue;
    TextColumn& column = columns.emplace_back(
        TextColumn{.name = field.title, .header = field.title, .worth = field.worth});
    column.cells.push_back(NormalText(field));
    for (const MatrixAnatomy& matrix : anatomy.matrices)
      column.cells.push_back(ValueText(field.value(matrix), field.times, field.decimals));
  }
  for (size_t c = 0; c < anatomy.cells.size(); ++c) {
    const std::string title = anatomy.cells[c].name + " error (%)";
    TextColumn& column = columns.emplace_back(
        TextColumn{.name = title, .header = title, .worth = kWorthOfErrors - (c == 0 ? 0 : 70)});
    column.cells.emplace_back("-");
    for (const MatrixAnatomy& matrix : anatomy.matrices) {
      const std::optional<RoundingLoss>& loss = matrix.rounded[c];
      column.cells.push_back(ValueText(loss ? std::optional(loss->error) : std::nullopt, 100, 2));
    }
  }
  return columns;
}

std::string MatrixTable(const Anatomy& anatomy, std::optional<size_t> width) {
  const FittedTable table = FitTable(MatrixColumns(anatomy), width);
  if (table.left_out.empty()) return table.text;
  return table.text +
         Wrapped(fmt::format("left out: {}\n", fmt::join(table.left_out, ", ")), width);
}

std::optional<Figure> RhoFigure(const std::optional<RankCorrelation>& correlation) {
  if (!correlation) return std::nullopt;
  Figure figure{.value = correlation->rho};
  if (const auto& interval = correlation->interval) {
    figure.low = interval->low;
    figure.high = interval->high;
  }
  return figure;
}

std::string ForetellingTable(const Anatomy& anatomy, size_t cell, std::optional<size_t> width) {
  const std::vector<Foretelling>& foretold = anatomy.foretold[cell];
  TextColumn names{.name = "by", .header = "rank correlation with", .left = true};
  std::vector<std::optional<Figure>> all, within;
  size_t matrices = 0, of_kinds = 0;
  for (const Foretelling& each : foretold) {
    names.cells.push_back(each.about);
    all.push_back(RhoFigure(each.all));
    within.push_back(RhoFigure(each.within_kinds));
    matrices = std::max(matrices, each.matrices);
    of_kinds = std::max(of_kinds, each.of_kinds);
  }
  const TextColumn over_all{
      .name = "all", .header = fmt::format("all {}", matrices), .cells = FigureColumn(all, 2)};
  const TextColumn over_kinds{.name = "kinds",
                              .header = fmt::format("{} within kinds", of_kinds),
                              .cells = FigureColumn(within, 2),
                              .worth = 50};
  std::string title = fmt::format("rounding error of {}: {}", anatomy.cells[cell].name,
                                  anatomy.cells[cell].Schemes());
  if (!anatomy.cells[cell].alike.empty())
    title += fmt::format("; the same: {}", fmt::join(anatomy.cells[cell].alike, ", "));
  return Wrapped(title + "\n", width) + FitTable({names, over_all, over_kinds}, width).text;
}

constexpr char kAnatomyLegend[] =
    "σ: standard deviation; 1σ, 2σ, 3σ: weights no further than that from their mean\n"
    "kurtosis: beyond a normal distribution's; of Laplace's it is 3\n"
    "KS: Kolmogorov and Smirnov's distance from the normal distribution of the same mean and σ, "
    "low and high its 95 % band; if normal: what normal weights stay below in 95 of 100. Both take "
    "weights as independent: where there are millions nothing is normal, and the distance counts\n"
    "bulk: share of the way from the least to the largest weight that the middle 99 % take; peak: "
    "the weight farthest from the mean\n"
    "row, col: root mean square of the largest row (output) and column (input) over the median "
    "one's; rows, cols: how many are beyond 3 times that\n";
constexpr char kErrorLegend[] =
    "error: Frobenius norm of what rounding changes over that of the matrix; reach of a scale's "
    "weights: their range over the root mean square of all\n"
    "rank correlation: Spearman's with the error, [ ] or ±: 95 % intervals, bootstrap over "
    "matrices, which count as independent; within kinds: of places among the matrices of the same "
    "name in other layers\n";

}  // namespace

std::string AnatomyText(const Anatomy& anatomy, std::optional<size_t> width) {
  std::string text = "\n" + Wrapped(AnatomyHeadline(anatomy, anatomy.matrices.size()), width) +
                     "\n" + MatrixTable(anatomy, width) + "\n" + Wrapped(kAnatomyLegend, width);
  for (size_t cell = 0; cell < anatomy.cells.size(); ++cell)
    text += "\n" + ForetellingTable(anatomy, cell, width);
  return text + "\n" + Wrapped(anatomy.cells.empty() ? NoCellsText() : kErrorLegend, width);
}

std::string AnatomyPlanText(const Anatomy& anatomy, size_t matrices, const Cost& cost,
                            std::optional<size_t> width) {
  std::string text = "\n" + Wrapped(AnatomyHeadline(anatomy, matrices), width);
  std::vector<std::vector<std::string>> rows;
  for (const RoundedCell& cell : anatomy.cells) {
    const auto rounded =
        std::count_if(cell.plan.begin(), cell.plan.end(),
                      [](const PlannedLinear& linear) { return linear.scheme.has_value(); });
    rows.push_back({cell.name, cell.Schemes(), fmt::format("{} of {}", rounded, matrices)});
  }
  text += rows.empty()
              ? Wrapped(NoCellsText(), width)
              : "\n" + RenderTable({"cell", "weights", "rounded matrices"}, rows, 2) + "\n";
  return text + Wrapped(CostText("expected", cost), width);
}

}  // namespace quantref
