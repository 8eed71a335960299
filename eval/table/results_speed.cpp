#include "eval/table/results_speed.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "eval/record/free_cores.h"
#include "eval/stats/stats.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

struct Kind {
  const char* name;
  std::vector<SpeedPoint> TableRecord::*points;
};
constexpr Kind kKinds[] = {{"prefill", &TableRecord::prefill}, {"decode", &TableRecord::decode}};

// The first point on so many threads, or nullptr.
const SpeedPoint* On(const Result& result, const Kind& kind, size_t threads) {
  for (const SpeedPoint& point : result.table.*kind.points) {
    if (point.threads == threads) return &point;
  }
  return nullptr;
}

bool WasTimed(const Result& result) { return result.table.stored.speed.has_value(); }

FreeCores CoresOf(const Result& result) {
  const StoredSpeed& speed = *result.table.stored.speed;
  return {speed.free_before, speed.free_after};
}

// Of whatever was timed, kernels too.
std::set<size_t> ThreadCounts(const Results& results) {
  std::set<size_t> counts;
  for (const Result& result : results) {
    if (!WasTimed(result)) continue;
    for (const StoredRate& rate : result.table.stored.speed->rates)
      counts.insert(rate.name.threads);
    for (const StoredKernel& kernel : result.table.stored.speed->kernels)
      counts.insert(kernel.name.threads);
  }
  return counts;
}

// "1,213": tokens a second.
std::string Rate(double rate) {
  return rate < 99.95 ? fmt::format("{:.1f}", rate)
                      : WithThousands(static_cast<size_t>(std::llround(rate)));
}

// "1,213 2.90x", with a star where the machine was busy and a "~" where codes were decoded.
std::string RateText(const Result& result, const Kind& kind, size_t threads) {
  const SpeedPoint* point = On(result, kind, threads);
  if (point == nullptr) return "-";
  std::string text = Rate(point->median);
  if (point->vs_fp16) text += fmt::format(" {:.2f}x", *point->vs_fp16);
  const std::vector<Stamp>& stamps = result.table.stored.stamps;
  if (std::ranges::count(stamps, 'D', &Stamp::letter) > 0) text += "~";
  if (Busy(CoresOf(result), threads)) text += "*";
  return text;
}

// What the columns show: "prefill of 512, decode of 64".
std::string Sizes(const Results& results, size_t threads) {
  std::string text;
  for (const Kind& kind : kKinds) {
    for (const Result& result : results) {
      const SpeedPoint* point = On(result, kind, threads);
      if (point == nullptr) continue;
      text += fmt::format("{}{} of {}", text.empty() ? "" : ", ", kind.name, point->tokens);
      break;
    }
  }
  return text;
}

// What speeds are ratios to: "fp16", or where that is not the reference, how fast it was.
std::string Yardstick(const Results& results, size_t threads) {
  const auto copy = std::ranges::find_if(
      results, [](const Result& result) { return result.Fields().Flag("throughput.fp16_copy"); });
  if (copy == results.end()) return "fp16";
  std::string rates;
  for (const Kind& kind : kKinds) {
    const SpeedPoint* point = On(*copy, kind, threads);
    if (point == nullptr || point->fp16_samples.empty()) continue;
    std::vector<double> samples = point->fp16_samples;
    rates +=
        fmt::format("{}{} {}", rates.empty() ? "" : ", ", kind.name, Rate(Quantile(samples, 0.5)));
  }
  return fmt::format("FP16 weights of the same shapes ({})", rates);
}

// A line for each cell on another number of threads than the table's.
std::string OtherThreads(const Results& results, size_t threads) {
  std::string text;
  for (const Result& result : results) {
    std::string line;
    for (const Kind& kind : kKinds) {
      if (On(result, kind, threads) == nullptr) continue;
      line += fmt::format("{}{} {}", line.empty() ? "" : ", ", kind.name,
                          RateText(result, kind, threads));
    }
    if (!line.empty())
      text += fmt::format("{}, {}: {}\n", Plural(threads, "thread"), result.Label(), line);
  }
  return text;
}

}  // namespace

const SpeedPoint* PointOfText(const Results& results, bool prefill) {
  const std::set<size_t> counts = ThreadCounts(results);
  if (counts.empty()) return nullptr;
  for (const Result& result : results) {
    const SpeedPoint* point = On(result, kKinds[prefill ? 0 : 1], *counts.begin());
    if (point != nullptr && point->vs_fp16) return point;
  }
  return nullptr;
}

SpeedColumns MakeSpeedColumns(const Results& results) {
  SpeedColumns columns;
  columns.rows.resize(results.size());
  const std::set<size_t> counts = ThreadCounts(results);
  if (counts.empty()) return columns;
  const size_t threads = *counts.begin();
  for (const Kind& kind : kKinds) {
    if (std::ranges::none_of(results, [&](const Result& r) { return On(r, kind, threads); }))
      continue;
    columns.header.push_back(fmt::format("{} tok/s", kind.name));
    for (size_t i = 0; i < results.size(); ++i)
      columns.rows[i].push_back(RateText(results[i], kind, threads));
  }
  return columns;
}

std::string SpeedHeadline(const Results& results) {
  const std::set<size_t> counts = ThreadCounts(results);
  std::string text;
  for (const Result& result : results) {
    if (!WasTimed(result)) continue;
    const FreeCores cores = CoresOf(result);
    const std::string line =
        fmt::format("speed: {}, {} thread{}, {:.2f} of 2 cores free before and {:.2f} after\n",
                    result.table.stored.Fact("environment.isa"), fmt::join(counts, " and "),
                    counts == std::set<size_t>{1} ? "" : "s", cores.before, cores.after);
    if (text.find(line) == std::string::npos) text += line;  // of cells timed together
  }
  return text;
}

std::string SpeedLegend(const Results& results) {
  const std::set<size_t> counts = ThreadCounts(results);
  if (counts.empty()) return "";
  const size_t first = *counts.begin();
  std::string text;
  for (const size_t threads : counts) {
    if (threads != first) text += OtherThreads(results, threads);
  }
  const std::string sizes = Sizes(results, first);
  if (!sizes.empty()) {
    text += fmt::format("tok/s: median tokens a second, {}, {}; x: times {}\n",
                        Plural(first, "thread"), sizes, Yardstick(results, first));
  }
  std::set<std::string, std::greater<>> marks;  // "~" before "*"
  for (const Result& result : results) {
    for (std::string& line : StampLines(result.Fields(), "throughput"))
      marks.insert(std::move(line));
  }
  for (const std::string& line : marks) text += line;
  return text;
}

}  // namespace quantref
