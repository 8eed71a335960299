#include "eval/facts/texts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eval/facts/stored_facts.h"
#include "eval/record/protocol_text.h"
#include "eval/record/stamps.h"
#include "eval/support/figure_text.h"
#include "eval/support/progress_bar.h"
#include "eval/support/public_name.h"
#include "eval/support/text_table.h"
#include "eval/table/headline.h"
#include "harness/base/machine.h"
#include "harness/model/gguf_facts.h"

namespace quantref {
namespace {

// What the table of the group will stand under.
MeasuredOn PlannedOn(const GroupResult& group) {
  const Text& text = *group.text;
  MeasuredOn on{group.model->name, TextName(text.dataset, text.split),
                ProtocolText(group.protocol->name, group.stream->bos.has_value())};
  if (group.outliers) on.outliers = OutliersText(group.outliers->scale, group.outliers->channels);
  on.windows = group.windows.size();
  for (const Window& window : group.windows) on.scored += window.scored();
  on.notice = PartialLine(on.windows, group.all_windows, false);
  const UnknownShare unknown = MeasureUnknown(*group.stream, group.windows);
  const Checkpoint& checkpoint = *group.model->weights.checkpoint;
  if (const GgufFacts facts = DescribeGguf(checkpoint); facts.quantized)
    on.notice += DecodedLine(facts.Summary());
  if (group.model->stored.HoldsCodes())
    on.notice += DecodedLine(StoredSummary(group.model->stored));
  if (unknown.TooMuch()) on.notice += UnknownTokensLine("test", unknown.tokens, unknown.bytes);
  if (text.substituted_sample) on.notice += SampleLine(text.dataset, text.split);
  on.threads = group.environment.threads;
  on.isa = group.environment.isa;
  on.blas = group.environment.blas;
  return on;
}

}  // namespace

std::string UnquantizedText(const std::string& config, const std::string& method) {
  return fmt::format(
      "{} of {} quantizes no matrix ('weights', 'keep' and 'overrides' leave all as they are): it "
      "is the reference itself, and has no cell of its own\n",
      method, config);
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
  return fmt::format("{}\n{}\n{}", HeadlineText(PlannedOn(group)),
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
  add(cost.sensitivity_seconds, "for sensitivities");
  add(cost.quantize_seconds, "to quantize");
  add(cost.seconds, "to measure");
  add(cost.throughput_seconds, "for throughput");
  return fmt::format(
      "{}: about {} ({}), up to {:.1f} GB of memory of {:.1f}, {:.1f} MB of records and "
      "up to {:.1f} MB of journal on disk\n",
      what, FormatDuration(cost.TotalSeconds()), parts, cost.memory_bytes / 1e9,
      static_cast<double>(MemoryBytes()) / 1e9, cost.record_bytes / 1e6, cost.journal_bytes / 1e6);
}

std::string LookText(const std::vector<std::string>& names, const ScoreTable& scores,
                     std::span<const Window> windows, size_t measured,
                     std::optional<size_t> width) {
  const auto figure_of = [](const Estimate& nll, auto&& shown) {
    Figure figure{shown(nll.mean)};
    if (nll.interval) {
      figure.low = shown(nll.interval->low);
      figure.high = shown(nll.interval->high);
    }
    return figure;
  };
  const MeasuredWindows reference = Measured(scores[0], windows);
  std::vector<std::optional<Figure>> perplexities, changes = {std::nullopt};
  for (size_t m = 0; m < names.size(); ++m) {
    const MeasuredWindows own = Measured(scores[m], windows);
    perplexities.push_back(figure_of(MeanNll(own), [](double nll) { return std::exp(nll); }));
    if (m == 0) continue;
    changes.push_back(
        figure_of(MeanDelta(own, reference), [](double delta) { return 100 * std::expm1(delta); }));
  }
  std::vector<TextColumn> columns = {{.header = "method", .cells = names, .left = true},
                                     {.header = "PPL", .cells = FigureColumn(perplexities, 2)},
                                     {.header = "change (%)", .cells = FigureColumn(changes, 2)}};
  return fmt::format("after {} of {} windows, from anywhere in the text:\n{}\n", measured,
                     windows.size(), FitTable(std::move(columns), width).text);
}

std::string GapMessage(const CellResult& cell) {
  const PathGap& gap = *cell.gap;
  std::string found;
  if (!cell.limits.LogitsHold(gap)) {
    found += fmt::format(
        "  logits, mean KL in nats: expected at most {:.3g} (accuracy.max_path_gap), found {:.3g}; "
        "the largest {:.3g}, logits up to {:.3g} apart, {:.2f} % the same top-1\n",
        *cell.limits.kl_mean, gap.kl_mean, gap.kl_max, gap.logit_max_abs, 100 * gap.top1_agreement);
  }
  if (!cell.limits.LinearsHold(gap)) {
    found += fmt::format(
        "  {}, relative error of the outputs: expected at most {:.3g} (accuracy.max_linear_gap), "
        "found {:.3g}\n",
        gap.worst_linear, cell.limits.linear_error, gap.linear_error);
  }
  return fmt::format(
      "GATE FAILED: {} {}: the kernels do not give what the same packed weights give decoded\n{}",
      cell.config->name, cell.label, found);
}

std::string CalibrationWarning(const CalibrationSet& set) {
  const size_t samples = set.data.samples.size();
  if (samples == set.asked_samples && set.length == set.asked_length) return "";
  return fmt::format("LESS CALIBRATION THAN ASKED FOR: {}: {}\n", TextName(set.dataset, set.split),
                     SamplesText(set, samples));
}

}  // namespace quantref
