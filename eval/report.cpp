#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "eval/overlap.h"
#include "eval/progress_bar.h"
#include "eval/report_speed.h"
#include "eval/text_table.h"

namespace quantref {
namespace {

std::string TextName(const Text& text) {
  return text.split.empty() ? text.dataset : fmt::format("{} {}", text.dataset, text.split);
}

// The windows that were measured, or that will be where nothing is measured yet.
std::vector<Window> MeasuredIn(const GroupResult& group) {
  if (group.measurement.scores.empty()) return group.windows;
  return Measured(group.measurement.scores[0], group.windows).windows;
}

std::string Headline(const GroupResult& group) {
  const std::vector<Window> windows = MeasuredIn(group);
  size_t scored = 0;
  for (const Window& window : windows) scored += window.scored();
  const std::string outliers = group.outliers
                                   ? fmt::format(
                                         " with outliers x{:g} in {:.1f} % of "
                                         "channels",
                                         group.outliers->scale, 100 * group.outliers->channels)
                                   : "";
  std::string line = fmt::format(
      "{}{} · {} · {} · {} windows, {} scored tokens · {} threads, {}, {}\n", group.model->name,
      outliers, TextName(*group.text), group.protocol->name, windows.size(), WithThousands(scored),
      group.environment.threads, group.environment.isa, group.environment.blas);
  if (group.measurement.stopped_early) {
    line += fmt::format("STOPPED when sure: {} of {} windows, in random order\n", windows.size(),
                        group.all_windows);
  } else if (windows.size() < group.all_windows) {
    line +=
        fmt::format("PARTIAL: the first {} of {} windows; not comparable with whole-text figures\n",
                    windows.size(), group.all_windows);
  }
  if (group.text->substituted_sample) line += SampleWarning(*group.text);
  return line;
}

bool SeveralConfigs(const std::vector<CellResult>& cells) {
  return std::any_of(cells.begin(), cells.end(),
                     [&](const CellResult& cell) { return cell.config != cells.front().config; });
}

// One line for each calibration set that methods of these cells read.
std::string CalibrationLines(const std::vector<CellResult>& cells) {
  std::vector<std::string> lines;
  for (const CellResult& cell : cells) {
    if (!cell.calibrates) continue;
    const CalibrationSet& set = *cell.calibration;
    std::string line = fmt::format("calibrated on {} {}, {} x {} tokens", set.dataset, set.split,
                                   set.data.samples.size(), set.length);
    if (set.substituted_sample) line += " (NOT WIKITEXT: the bundled sample)";
    if (set.overlap > kMostOverlap) {
      line += fmt::format(
          "\nCONTAMINATED: {:.1f} % of the test text's runs of {} words were seen in calibration",
          100 * set.overlap, kOverlapWords);
    }
    if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(line);
  }
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// "gptq: PPL 15.80 ± 0.02 (standard deviation over 4 calibration seeds)".
std::string SpreadLines(const std::vector<CellResult>& cells) {
  std::string text;
  std::set<const CellConfig*> told;
  for (const CellResult& cell : cells) {
    const std::optional<SeedSpread> spread = SpreadOver(cell);
    if (!spread || !told.insert(cell.spec).second) continue;
    text += fmt::format(
        "{}: PPL {:.4f} ± {:.4f}, mean and standard deviation over {} calibration "
        "seeds\n",
        cell.method(), spread->mean, spread->deviation, spread->seeds.size());
  }
  return text;
}

// "15.33 ± 0.41": the half width of the 95 % interval; without one there is nothing to print.
std::string PlusMinus(double value, const std::optional<Interval>& interval, double half_width,
                      int digits) {
  if (!interval) return fmt::format("{:.{}f}", value, digits);
  return fmt::format("{:.{}f} ± {:.{}f}", value, digits, half_width, digits);
}

std::string PplCell(const Perplexity& perplexity) {
  const auto& interval = perplexity.nll.interval;
  const double half = interval ? (std::exp(interval->high) - std::exp(interval->low)) / 2 : 0;
  return PlusMinus(perplexity.ppl, interval, half, 4);
}

// The change of PPL in per cent, with its interval.
std::string ChangeCell(const Comparison& comparison) {
  const auto percent = [](double delta_nll) { return 100 * std::expm1(delta_nll); };
  const std::string change = fmt::format("{:+.3f} %", percent(comparison.delta_nll.mean));
  const auto& interval = comparison.delta_nll.interval;
  if (!interval) return change;
  return fmt::format("{} [{:+.3f}, {:+.3f}]", change, percent(interval->low),
                     percent(interval->high));
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

// What the intervals say of a cell's place.
std::string Verdict(const CellResult& cell, const CellResult* best) {
  if (!cell.comparison || !cell.comparison->delta_nll.interval) return "";
  std::string verdict = cell.comparison->delta_nll.interval->Contains(0) ? "= fp16" : "";
  if (best == nullptr) return verdict;
  if (&cell == best) return verdict + (verdict.empty() ? "best" : ", best");
  for (const Against& other : cell.against) {
    const bool is_best = other.config == best->config->name && other.method == best->label;
    if (is_best && other.delta_nll.Contains(0)) verdict += verdict.empty() ? "= best" : ", = best";
  }
  return verdict;
}

std::vector<std::string> ResultRow(const CellResult& cell, const CellResult* best,
                                   bool divergence) {
  std::vector<std::string> row = {cell.label, SchemeText(cell),
                                  fmt::format("{:.3f}", cell.bits.blocks),
                                  PplCell(cell.perplexity)};
  row.push_back(cell.comparison ? ChangeCell(*cell.comparison) : "-");
  if (divergence) {
    const auto& comparison = cell.comparison;
    const auto half = [](const Estimate& estimate) {
      return estimate.interval ? estimate.interval->HalfWidth() : 0;
    };
    row.push_back(comparison ? PlusMinus(comparison->kl.mean, comparison->kl.interval,
                                         half(comparison->kl), 5)
                             : "-");
    row.push_back(comparison ? PlusMinus(100 * comparison->top1.mean, comparison->top1.interval,
                                         100 * half(comparison->top1), 2) +
                                   " %"
                             : "-");
  }
  row.push_back(Verdict(cell, best));
  row.push_back(FormatDuration(cell.quantize_seconds + cell.evaluate_seconds));
  return row;
}

// What the marks and intervals mean, and how fine this text can see.
std::string Legend(const GroupResult& group, const std::vector<CellResult>& cells) {
  if (MeasuredIn(group).size() < kMinBlocks) {
    return fmt::format("no intervals: they need {} windows or more\n", kMinBlocks);
  }
  double detectable = 0;
  for (const CellResult& cell : cells) {
    if (cell.comparison) detectable = std::max(detectable, cell.comparison->minimum_detectable);
  }
  if (detectable == 0) return "± and [ ]: 95 % intervals over windows\n";
  return fmt::format(
      "± and [ ]: 95 % intervals over windows, changes paired; \"=\": the interval holds no "
      "difference\n"
      "this text would show a true change of {:.3f} % PPL or more in 4 of 5 runs\n",
      100 * std::expm1(detectable));
}

}  // namespace

std::string SchemeText(const CellResult& cell) {
  if (cell.spec == nullptr) return "-";
  std::string scheme = SchemeName(cell.spec->quantize.weights);
  if (!cell.spec->quantize.overrides.empty()) scheme += " mixed";
  if (cell.spec->activations) scheme += ", " + ActivationName(*cell.spec->activations);
  return scheme;
}

std::string ResultText(const GroupResult& group, const std::vector<CellResult>& cells) {
  const bool several = SeveralConfigs(cells);
  const bool divergence = std::any_of(cells.begin(), cells.end(), [](const CellResult& cell) {
    return cell.comparison && cell.config->accuracy.Compares();
  });
  std::vector<std::string> header = {"method", "weights", "bits/weight", "PPL", "change"};
  if (divergence) header.insert(header.end(), {"KL (nats)", "same top-1"});
  const SpeedColumns speed = MakeSpeedColumns(cells);
  header.push_back("");
  header.insert(header.end(), speed.header.begin(), speed.header.end());
  header.emplace_back("time");
  if (several) header.insert(header.begin(), "config");
  const CellResult* best = BestQuantized(cells);
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < cells.size(); ++i) {
    rows.push_back(ResultRow(cells[i], best, divergence));
    rows.back().insert(rows.back().end() - 1, speed.rows[i].begin(), speed.rows[i].end());
    if (several) rows.back().insert(rows.back().begin(), cells[i].config->name);
  }
  return "\n" + Headline(group) + CalibrationLines(cells) +
         SpeedHeadline(cells, group.environment) + "\n" +
         RenderTable(header, rows, several ? 3 : 2) + "\n" + SpreadLines(cells) +
         Legend(group, cells) + SpeedLegend(cells);
}

std::string LayersText(const std::vector<CellResult>& cells) {
  std::string text;
  for (const CellResult& cell : cells) {
    if (cell.layers.empty()) continue;
    std::vector<std::vector<std::string>> rows;
    for (const LayerReport& layer : cell.layers) {
      rows.push_back({layer.name, fmt::format("{} {}", layer.method, SchemeName(layer.scheme)),
                      fmt::format("{:.3e}", layer.weight_mse),
                      layer.output_error ? fmt::format("{:.3e}", *layer.output_error) : "-",
                      fmt::format("{:.2e} .. {:.2e}", layer.scale_min, layer.scale_max),
                      fmt::format("{:.2f} %", 100 * layer.clipped_share),
                      fmt::format("{:.2f} s", layer.seconds), layer.note});
    }
    text += fmt::format("\n{} {}\n{}", cell.config->name, cell.label,
                        RenderTable({"layer", "method", "weight MSE", "output error", "scales",
                                     "clipped", "time", ""},
                                    rows, 2));
  }
  return text +
         "\noutput error: squared error of the outputs on calibration inputs over their "
         "squares\n";
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
  return fmt::format("{}\n{}\n{}", Headline(group), RenderTable(header, cells, passes ? 3 : 2),
                     CostText("expected", cost));
}

std::string CostText(const std::string& what, const Cost& cost) {
  if (cost.TotalSeconds() == 0) return fmt::format("{}: nothing to measure\n", what);
  const std::string quantize = cost.quantize_seconds > 0
                                   ? fmt::format("about {} to quantize (searches come on top) and ",
                                                 FormatDuration(cost.quantize_seconds))
                                   : "";
  const std::string rate =
      cost.gflops_a_core > 0 ? fmt::format(" ({:.0f} GFLOP/s a core now)", cost.gflops_a_core) : "";
  const std::string speed =
      cost.throughput_seconds > 0
          ? fmt::format(", about {} for throughput", FormatDuration(cost.throughput_seconds))
          : "";
  return fmt::format(
      "{}: {}about {} to measure{}{}, up to {:.1f} GB of memory of {:.1f}, {:.1f} MB of records "
      "and "
      "up to {:.1f} MB of journal on disk\n",
      what, quantize, FormatDuration(cost.seconds), rate, speed, cost.memory_bytes / 1e9,
      static_cast<double>(MemoryBytes()) / 1e9, cost.record_bytes / 1e6, cost.journal_bytes / 1e6);
}

std::string SampleWarning(const Text& text) {
  return fmt::format(
      "NOT WIKITEXT: the data set could not be had, so the bundled sample ({}) is used.\n"
      "Its figures compare with nothing published; get the real text with "
      "scripts/fetch_wikitext.\n",
      text.path.filename().string());
}

}  // namespace quantref
