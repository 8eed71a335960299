#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "eval/record/calibration_text.h"
#include "eval/record/protocol_text.h"
#include "eval/stats/stats.h"
#include "eval/support/figure_text.h"
#include "eval/support/public_name.h"
#include "eval/support/text_table.h"
#include "eval/table/headline.h"
#include "eval/table/results_candidates.h"
#include "eval/table/results_speed.h"
#include "eval/table/results_table.h"

// What stands around the table of results.

namespace quantref {
namespace {

std::string Joined(const std::vector<std::string>& lines) {
  return fmt::format("{}", fmt::join(lines, ""));
}

std::string Headline(const Result& result) {
  const RecordFields fields = result.Fields();
  const StoredRecord& stored = result.table.stored;
  MeasuredOn on{stored.cell.model, result.table.text,
                ProtocolText(stored.cell.protocol, stored.Fact("protocol.bos") != "false")};
  if (fields.Has("model.outliers"))
    on.outliers = OutliersText(fields.Number("model.outliers.scale"),
                               fields.Number("model.outliers.channels"));
  on.windows = stored.window_scored.size();
  on.scored = static_cast<size_t>(result.table.scored);
  if (fields.Has("model.passed_by"))
    on.notice = fmt::format("the reference: {}\n", fields.Text("model.passed_by"));
  on.notice += Joined(StampLines(fields, "model")) + Joined(StampLines(fields, "protocol")) +
               Joined(StampLines(fields, "dataset"));
  on.threads = static_cast<size_t>(fields.NumberOr("environment.threads", 1));
  on.isa = stored.Fact("environment.isa");
  on.blas = stored.Fact("environment.blas");
  return HeadlineText(on);
}

// "calibrated on wikitext-2 validation, 128 x 2048 tokens, ...", with its stamps; "" where the
// method read no text.
std::string CalibrationLines(const Result& result) {
  const RecordFields fields = result.Fields();
  if (fields.TextOr("calibration.used_by", "") != "method") return "";
  if (!fields.Has("calibration.samples")) return "";
  const auto count = [&](const std::string& path) {
    return !fields.Has(path) ? 0 : fields.Count(path);
  };
  const SampleCounts counts{.samples = count("calibration.samples"),
                            .length = count("calibration.length"),
                            .distinct = count("calibration.distinct_tokens"),
                            .text_tokens = count("calibration.text_tokens"),
                            .cut = fields.Has("calibration.cut_from_samples") ||
                                   fields.Has("calibration.cut_from_length"),
                            .asked_samples = count("config.resolved.calibration.samples"),
                            .asked_length = count("config.resolved.calibration.length")};
  const std::string text = TextName(PublicName(fields.TextOr("calibration.dataset", "")),
                                    fields.TextOr("calibration.split", ""));
  const bool sample = fields.Flag("calibration.substituted_sample");
  return fmt::format("calibrated on {}, {}{}\n{}", text, SamplesText(counts),
                     sample ? " (NOT WIKITEXT: the bundled sample)" : "",
                     Joined(StampLines(fields, "calibration")));
}

// "trained on wikitext-2 train, 200 steps of 8 x 512 tokens", with its stamps; "" of other cells.
std::string TrainingLines(const Result& result) {
  const RecordFields fields = result.Fields();
  if (!fields.Has("finetune.dataset")) return "";
  const std::string text =
      TextName(PublicName(fields.Text("finetune.dataset")), fields.TextOr("finetune.split", ""));
  return fmt::format("trained on {}, {} of {} x {} tokens\n{}", text,
                     Plural(fields.Count("finetune.steps"), "step"), fields.Count("finetune.batch"),
                     fields.Count("finetune.length"), Joined(StampLines(fields, "finetune")));
}

// "bits chosen on wikitext-2 validation, 8 x 512 tokens", with its stamps; "" of other cells.
std::string BudgetLines(const Result& result) {
  const RecordFields fields = result.Fields();
  const std::string section = "budget.calibration.";
  if (!fields.Has(section + "dataset")) return "";
  const std::string text =
      TextName(PublicName(fields.Text(section + "dataset")), fields.TextOr(section + "split", ""));
  const bool sample = fields.Flag(section + "substituted_sample");
  return fmt::format("bits chosen on {}, {} x {} tokens{}\n{}", text,
                     fields.Count(section + "samples"), fields.Count(section + "length"),
                     sample ? " (NOT WIKITEXT: the bundled sample)" : "",
                     Joined(StampLines(fields, "budget")));
}

// Of each different text once.
std::string TextLines(const Results& results) {
  std::string text;
  std::set<std::string> told;
  for (const auto& lines_of : {CalibrationLines, BudgetLines, TrainingLines}) {
    for (const Result& result : results) {
      const std::string lines = lines_of(result);
      if (told.insert(lines).second) text += lines;
    }
  }
  return text;
}

// What the rounded caches take in memory: with what waits unrounded it is more than their codes.
std::string CacheLines(const Results& results) {
  std::string text;
  for (const Result& result : results) {
    const RecordFields fields = result.Fields();
    if (!fields.Has("kv_cache.bytes")) continue;
    text += fmt::format("{}: its cache of {} takes {:.2f} times the bytes of FP16\n",
                        result.Label(), Plural(fields.Count("kv_cache.tokens"), "token"),
                        fields.Number("kv_cache.bytes") / fields.Number("kv_cache.fp16_bytes"));
  }
  return text;
}

// What became of adapters: their bits are the cell's.
std::string LoraLines(const Results& results) {
  std::string text;
  for (const Result& result : results) {
    const RecordFields fields = result.Fields();
    const std::string merge = fields.TextOr("lora.merge", "");
    if (merge.empty()) continue;
    const std::string what =
        merge == "none"   ? fmt::format("kept apart in FP16, {:.3f} of its bits/weight",
                                        fields.Number("lora.bits"))
        : merge == "fp16" ? std::string("merged into weights that are FP16 since")
                          : std::string("merged, and the weights rounded again");
    text += fmt::format("{}: adapters of rank {}, {}\n", result.Label(), fields.Count("lora.rank"),
                        what);
  }
  return text;
}

// The stamps that are of single cells, with their names.
std::string CellLines(const Results& results, std::string_view section) {
  std::string text;
  for (const Result& result : results) {
    for (const std::string& line : StampLines(result.Fields(), section))
      text += result.Label() + ": " + line;
  }
  return text;
}

// Of the cells whose perplexity no double holds, what is known all the same.
std::string BeyondLines(const Results& results) {
  std::string text;
  for (const Result& result : results) {
    if (result.table.synthetic || std::isfinite(std::exp(result.table.stored.MeanNll()))) continue;
    text += fmt::format("{}: PPL beyond 1e308, mean NLL {:.1f} nats a token\n", result.Label(),
                        result.table.stored.MeanNll());
  }
  return text;
}

// "gptq: PPL 15.80 ± 0.02, mean and standard deviation over 4 calibration seeds".
std::string SpreadLines(const Results& results) {
  std::string text;
  std::set<std::string> told;
  for (const Result& result : results) {
    const RecordFields fields = result.Fields();
    const auto seeds = fields.Find("calibration.seeds.seeds");
    if (!seeds || !fields.Has("calibration.seeds.ppl_mean")) continue;
    if (!told.insert(result.cell().config + " " + result.cell().method).second) continue;
    text += fmt::format("{}: PPL {} ± {}, mean and standard deviation over {} calibration seeds\n",
                        result.cell().method,
                        FigureText(fields.Number("calibration.seeds.ppl_mean"), 4),
                        FigureText(fields.Number("calibration.seeds.ppl_sd"), 4), seeds->size());
  }
  return text;
}

// What the marks and intervals mean, and how fine this text can see.
std::string Legend(const Results& results) {
  if (results.front().table.stored.window_nll.size() < kMinBlocks)
    return fmt::format("no intervals: they need {} windows or more\n", kMinBlocks);
  double detectable = 0;
  for (const Result& result : results) {
    detectable =
        std::max(detectable, result.Fields().NumberOr("accuracy.minimum_detectable_delta_nll", 0));
  }
  const double change = 100 * std::expm1(detectable);
  if (detectable == 0) return "± and [ ]: 95 % intervals over windows\n";
  return fmt::format(
      "± and [ ]: 95 % intervals over windows, changes paired; \"=\": the interval holds no "
      "difference\n"
      "this text would show a true change of {} % PPL or more in 4 of 5 runs\n",
      std::isfinite(change) ? fmt::format("{:.2g}", change) : FigureText(change, 0));
}

// Whose time is not this run's alone.
std::string TimeLines(const Results& results) {
  std::map<size_t, std::string> quantized;  // by threads
  size_t windows = 0;
  for (const Result& result : results) {
    const RecordFields fields = result.Fields();
    if (fields.Has("seconds.quantize_threads")) {
      std::string& labels = quantized[fields.Count("seconds.quantize_threads")];
      labels += (labels.empty() ? "" : ", ") + result.Label();
    }
    if (fields.Has("seconds.resumed_windows"))
      windows = std::max<size_t>(windows, fields.Count("seconds.resumed_windows"));
  }
  std::string text;
  for (const auto& [threads, labels] : quantized) {
    text += fmt::format("time: of {} with what an earlier run took to quantize, on {}\n", labels,
                        Plural(threads, "thread"));
  }
  if (windows > 0)
    text +=
        fmt::format("time: without {} that an earlier run measured\n", Plural(windows, "window"));
  return text;
}

std::string AboveSynthetic(const Results& results) {
  const Result& first = results.front();
  const std::string left_out = first.Fields().TextOr("throughput.reference_left_out", "");
  return fmt::format("{} · {:.2f} B parameters · {}\n{}{}", first.cell().model,
                     first.Fields().Number("model.parameters") / 1e9, kSyntheticStamp,
                     SpeedHeadline(results), left_out.empty() ? "" : "no fp16: " + left_out + "\n");
}

std::vector<TextColumn> LayerColumns(const std::vector<RecordFields>& layers) {
  std::vector<TextColumn> columns;
  const auto add = [&](const char* header, int worth, bool left, auto&& text) {
    columns.push_back({.name = header, .header = header, .left = left, .worth = worth});
    for (const RecordFields& layer : layers) columns.back().cells.push_back(text(layer));
  };
  const auto brief = [](const RecordFields& layer, const std::string& path) {
    return !layer.Has(path) ? "-" : fmt::format("{:.3e}", layer.Number(path));
  };
  add("layer", TextColumn::kNeeded, true, [](const auto& l) { return l.Text("name"); });
  add("method", 60, true, [](const auto& l) { return l.Text("method") + " " + l.Text("scheme"); });
  add("weight MSE", 50, false, [&](const auto& l) { return brief(l, "weight_mse"); });
  add("output error", 70, false, [&](const auto& l) { return brief(l, "output_error"); });
  add("scales", 20, false, [](const auto& l) {
    if (!l.Has("scale_range")) return std::string("-");
    const auto [low, high] = l.Interval("scale_range");
    return fmt::format("{:.2e} .. {:.2e}", low, high);
  });
  add("clipped", 40, false,
      [](const auto& l) { return fmt::format("{:.2f} %", 100 * l.NumberOr("clipped_share", 0)); });
  const auto has_outliers = [](const RecordFields& l) { return l.Has("outlier_share"); };
  if (std::any_of(layers.begin(), layers.end(), has_outliers)) {
    add("outlier channels", 45, false, [&](const auto& l) {
      if (!has_outliers(l)) return std::string("-");
      return fmt::format("{:.1f} %, most {:.1f}", 100 * l.Number("outlier_share"),
                         100 * l.NumberOr("outlier_share_max", 0));
    });
  }
  add("time", 30, false,
      [](const auto& l) { return fmt::format("{:.2f} s", l.NumberOr("seconds", 0)); });
  add("note", 25, true, [](const auto& l) { return l.TextOr("note", ""); });
  return columns;
}

}  // namespace

std::string ResultText(const Results& results, const TableView& view) {
  const bool synthetic = results.front().table.synthetic;
  const ShownTable table = ResultTable(results, view);
  // What is said of columns that are not there is noise.
  const bool speeds = !table.speed_left_out;
  const std::string headline = speeds ? SpeedHeadline(results) : "";
  const std::string legend = speeds ? SpeedLegend(results) : "";
  const std::string above = synthetic ? AboveSynthetic(results)
                                      : Headline(results.front()) + TextLines(results) +
                                            CellLines(results, "simulated_vs_kernel") + headline;
  const std::string below = synthetic ? legend
                                      : BeyondLines(results) + CellLines(results, "layers") +
                                            CandidateLines(results) + SpreadLines(results) +
                                            CacheLines(results) + LoraLines(results) +
                                            Legend(results) + TimeLines(results) + legend;
  return "\n" + Wrapped(above, view.width) + "\n" + table.text + "\n" + Wrapped(below, view.width);
}

std::string LayersText(const Results& results, const TableView& view) {
  std::string text;
  for (const Result& result : results) {
    const std::vector<RecordFields> layers = result.Fields().Maps("layers");
    text += CandidateMatricesText(result, view.width);
    if (layers.empty()) continue;
    const FittedTable table = FitTable(LayerColumns(layers), view.width);
    text += fmt::format("\n{} {}\n{}", result.cell().config, result.Label(), table.text);
    if (!table.left_out.empty())
      text += fmt::format("left out: {}\n", fmt::join(table.left_out, ", "));
  }
  return text + Wrapped(
                    "\noutput error: squared error of the outputs on calibration inputs over "
                    "their squares\n",
                    view.width);
}

}  // namespace quantref
