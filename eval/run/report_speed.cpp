#include "eval/run/report_speed.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "eval/support/text_table.h"

namespace quantref {
namespace {

using Timings = std::vector<ModelTiming> CellThroughput::*;

// The first timing on so many threads, or nullptr.
const ModelTiming* On(const std::vector<ModelTiming>& timings, size_t threads) {
  for (const ModelTiming& timing : timings) {
    if (timing.threads == threads) return &timing;
  }
  return nullptr;
}

const ModelTiming* Timed(const CellResult& cell, Timings kind, size_t threads) {
  return cell.speed ? On(cell.speed->own().*kind, threads) : nullptr;
}

std::set<size_t> ThreadCounts(const std::vector<CellResult>& cells) {
  std::set<size_t> counts;
  for (const CellResult& cell : cells) {
    if (!cell.speed) continue;
    for (const auto* timings : {&cell.speed->own().prefill, &cell.speed->own().decode}) {
      for (const ModelTiming& timing : *timings) counts.insert(timing.threads);
    }
    for (const KernelTiming& timing : cell.speed->own().kernels) counts.insert(timing.threads);
  }
  return counts;
}

bool Has(const std::vector<CellResult>& cells, Timings kind, size_t threads) {
  return std::any_of(cells.begin(), cells.end(),
                     [&](const CellResult& cell) { return Timed(cell, kind, threads) != nullptr; });
}

// "1,213": the median, tokens a second.
std::string Rate(const ModelTiming& timing) {
  const double rate = TokenRates(timing).Median();
  return rate < 99.95 ? fmt::format("{:.1f}", rate)
                      : WithThousands(static_cast<size_t>(std::llround(rate)));
}

// "1,213 2.9x", with a star where the machine was busy and a "~" where codes were decoded.
std::string RateText(const CellResult& cell, Timings kind, size_t threads) {
  const ModelTiming* timing = Timed(cell, kind, threads);
  if (timing == nullptr) return "-";
  const double rate = TokenRates(*timing).Median();
  std::string text = Rate(*timing);
  const CellThroughput* fp16 = cell.speed->fp16_weights();
  const ModelTiming* same = fp16 == nullptr ? nullptr : SameTiming(fp16->*kind, *timing);
  if (same != nullptr) text += fmt::format(" {:.2f}x", rate / TokenRates(*same).Median());
  if (!cell.speed->own().decoded_each_call.empty()) text += "~";
  if (Busy(cell.speed->run->cores, threads)) text += "*";
  return text;
}

// The runs that these cells' figures come from, each once.
std::vector<const Throughput*> Runs(const std::vector<CellResult>& cells) {
  std::vector<const Throughput*> runs;
  for (const CellResult& cell : cells) {
    if (cell.speed && std::find(runs.begin(), runs.end(), cell.speed->run.get()) == runs.end())
      runs.push_back(cell.speed->run.get());
  }
  return runs;
}

std::string Threads(size_t count) {
  return count == 1 ? "1 thread" : fmt::format("{} threads", count);
}

struct Kind {
  const char* name;
  Timings timings;
};
constexpr Kind kKinds[] = {{"prefill", &CellThroughput::prefill},
                           {"decode", &CellThroughput::decode}};

// What the columns show: "prefill: 512 tokens, decode: 64".
std::string Sizes(const std::vector<CellResult>& cells, size_t threads) {
  std::string text;
  for (const Kind& kind : kKinds) {
    for (const CellResult& cell : cells) {
      const ModelTiming* timing = Timed(cell, kind.timings, threads);
      if (timing == nullptr) continue;
      text += fmt::format("{}{} of {}", text.empty() ? "" : ", ", kind.name, timing->tokens);
      break;
    }
  }
  return text;
}

// What speeds are ratios to: "fp16", or where that is not the reference, how fast it was.
std::string Yardstick(const std::vector<CellResult>& cells, size_t threads) {
  const auto copy = std::find_if(cells.begin(), cells.end(), [](const CellResult& cell) {
    return cell.speed && cell.speed->fp16_is_copy();
  });
  if (copy == cells.end()) return "fp16";
  const CellThroughput& fp16 = *copy->speed->fp16_weights();
  std::string rates;
  for (const Kind& kind : kKinds) {
    const ModelTiming* timing = On(fp16.*kind.timings, threads);
    if (timing == nullptr) continue;
    rates += fmt::format("{}{} {}", rates.empty() ? "" : ", ", kind.name, Rate(*timing));
  }
  return fmt::format("FP16 weights of the same shapes ({})", rates);
}

// A line for each cell on another number of threads than the table's.
std::string OtherThreads(const std::vector<CellResult>& cells, size_t threads) {
  std::string text;
  for (const CellResult& cell : cells) {
    if (!cell.speed) continue;
    std::string line;
    for (const Kind& kind : kKinds) {
      if (Timed(cell, kind.timings, threads) == nullptr) continue;
      line += fmt::format("{}{} {}", line.empty() ? "" : ", ", kind.name,
                          RateText(cell, kind.timings, threads));
    }
    if (!line.empty()) text += fmt::format("{}, {}: {}\n", Threads(threads), cell.label, line);
  }
  return text;
}

}  // namespace

SpeedColumns MakeSpeedColumns(const std::vector<CellResult>& cells) {
  SpeedColumns columns;
  columns.rows.resize(cells.size());
  const std::set<size_t> counts = ThreadCounts(cells);
  if (counts.empty()) return columns;
  for (const Kind& kind : kKinds) {
    if (!Has(cells, kind.timings, *counts.begin())) continue;
    columns.header.push_back(fmt::format("{} tok/s", kind.name));
    for (size_t i = 0; i < cells.size(); ++i)
      columns.rows[i].push_back(RateText(cells[i], kind.timings, *counts.begin()));
  }
  return columns;
}

std::string SpeedHeadline(const std::vector<CellResult>& cells, const Environment& environment) {
  const std::set<size_t> counts = ThreadCounts(cells);
  std::string text;
  for (const Throughput* run : Runs(cells)) {
    const std::string line =
        fmt::format("speed: {}, {} thread{}, {:.2f} of 2 cores free before and {:.2f} after\n",
                    environment.isa, fmt::join(counts, " and "),
                    counts == std::set<size_t>{1} ? "" : "s", run->cores.before, run->cores.after);
    if (text.find(line) == std::string::npos) text += line;  // of records each cell has it
  }
  return text;
}

std::string SpeedLegend(const std::vector<CellResult>& cells) {
  const std::set<size_t> counts = ThreadCounts(cells);
  if (counts.empty()) return "";
  std::string text;
  bool busy = false;
  for (const size_t threads : counts) {
    if (threads != *counts.begin()) text += OtherThreads(cells, threads);
    for (const Throughput* run : Runs(cells)) busy = busy || Busy(run->cores, threads);
  }
  const std::string sizes = Sizes(cells, *counts.begin());
  if (!sizes.empty()) {
    text += fmt::format("tok/s: median tokens a second, {}, {}; x: times {}\n",
                        Threads(*counts.begin()), sizes, Yardstick(cells, *counts.begin()));
  }
  const bool decoded = std::any_of(cells.begin(), cells.end(), [](const CellResult& cell) {
    return cell.speed && !cell.speed->own().decoded_each_call.empty();
  });
  if (decoded)
    text +=
        "~ decodes codes to FP32 for every product, as no deployment would: not the format's "
        "speed\n";
  if (busy) {
    text +=
        "* BUSY machine: several threads without a free core each, or free cores that changed by "
        "more than 10 %\n";
  }
  return text;
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

}  // namespace quantref
