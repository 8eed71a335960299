#include "eval/table/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/record/reader_fields.h"
#include "eval/record/schema.h"
#include "eval/record/scheme_text.h"
#include "eval/stats/stats.h"
#include "eval/support/files.h"
#include "eval/support/public_name.h"
#include "eval/support/text_table.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/base/sha256.h"
#include "harness/io/json_reader.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

// A record's perplexity is the exponential of sums of doubles, summed in another order.
constexpr double kSameNll = 1e-9;

std::vector<double> WindowSums(const RecordFields& fields, const std::string& path,
                               size_t windows) {
  return fields.Has(path) ? fields.Sums(path, windows) : std::vector<double>{};
}

std::string AsText(JsonValue value) {
  return value.IsText() ? Printable(std::string(value.Text())) : value.Dump();
}

// Equal for cells that took turns with each other; "" where nothing was timed. The machine's
// figures, measured between the cells, are those of these minutes alone.
std::string TimingOf(const RecordFields& fields) {
  if (!fields.Has("throughput")) return "";
  std::string timing = fields.Has("run")
                           ? fields.Text("run")
                           : fields.Text("config.name") + fields.TextOr("config.sha256", "") +
                                 fields.TextOr("tool.git_commit", "");
  for (const char* path : {"throughput.roofline", "throughput.free_cores"}) {
    if (const auto figures = fields.Find(path)) timing += figures->Dump();
  }
  return timing;
}

// Of records that do not name their run, what tells it apart.
std::string RunName(const RecordFields& fields) {
  if (fields.Has("run")) return fields.Text("run");
  const std::string timing = TimingOf(fields);
  return timing.empty() ? "none" : Sha256Hex(timing).substr(0, 16);
}

// Absent, or what JSON writes for a number that no double holds.
bool IsAbsent(const std::optional<JsonValue>& value) { return !value || value->IsNull(); }

constexpr const char* kUnknown = "unknown";

bool IsOfScheme(const std::string& path) {
  return path == "scheme.bits" || path == "scheme.group" || path == "scheme.symmetric" ||
         path == "scheme.granularity";
}

// What of a `scheme` every uniform one has: where one of matrices that differ lacks it, the word
// for that. A candidate's older record has its types' names alone.
std::string AbsentOfScheme(const RecordFields& fields, const std::string& path) {
  if (!IsOfScheme(path) || !fields.Has("scheme")) return "none";
  const std::string reach = fields.TextOr("scheme.granularity", "");
  if (reach.empty()) return kUnknown;
  const bool has = path == "scheme.bits" || (path == "scheme.symmetric" && reach != "none") ||
                   reach == "group" || reach == "mixed";
  return has ? kMixed : "none";
}

// What one scale is for: "g128", "row".
std::string ReachText(const RecordFields& fields) {
  if (IsSchemeOfSome(fields)) return kUnknown;
  if (fields.Has("scheme.group")) return "g" + fields.Find("scheme.group")->Dump();
  const std::string reach = fields.TextOr("scheme.granularity", "");
  return reach.empty() || reach == "group" ? AbsentOfScheme(fields, "scheme.granularity") : reach;
}

// The value of a field as rows, columns and filters see it.
std::string FieldText(const RecordFields& fields, const std::string& field) {
  if (field == "model") {
    const bool outliers = fields.Has("model.outliers");
    const bool fp16 = fields.TextOr("model.dtype", "native") != "native";
    return PublicName(fields.Text("model.name")) + (fp16 ? " fp16" : "") +
           (outliers ? " + outliers" : "");
  }
  if (field == "scheme") return SchemeText(fields);
  if (field == "reach") return ReachText(fields);
  if (field == "run") return RunName(fields);
  const std::string path(PathOfAlias(field));
  if (path == "scheme.name") return WeightsText(fields);
  if (IsOfScheme(path) && IsSchemeOfSome(fields)) return kUnknown;
  const std::optional<JsonValue> value = fields.Find(path);
  if (IsAbsent(value)) return AbsentOfScheme(fields, path);
  if (value->IsMap() || value->IsList())
    fields.Fail(path, "one value, for rows and columns", DescribeJson(value));
  const RecordField* known = FindField(path);
  return known != nullptr && known->Is(Role::kPlace) ? PublicName(AsText(*value)) : AsText(*value);
}

// The logarithm of what the metric shows stands in the record beside it; "" where none does.
std::string LogarithmPath(const TableMetric& metric) {
  if (metric.path == "accuracy.ppl") return "accuracy.mean_nll";
  return metric.path == "accuracy.ppl_ratio" ? "accuracy.delta_nll" : "";
}

// Nothing where the record does not have the metric. An exponential that no double holds is
// infinite.
std::optional<Figure> ReadNumber(const RecordFields& fields, const TableMetric& metric) {
  const auto convert = [&](double value) { return (value + metric.offset) * metric.factor; };
  if (IsAbsent(fields.Find(metric.path))) {
    const std::string logarithm = LogarithmPath(metric);
    if (logarithm.empty() || !fields.Has(logarithm)) return std::nullopt;
    const double value = std::exp(fields.Number(logarithm));
    if (std::isfinite(value)) return std::nullopt;
    return Figure{value};
  }
  Figure number{convert(fields.Number(metric.path))};
  const auto interval =
      metric.interval_path.empty() ? std::nullopt : fields.Find(metric.interval_path);
  if (IsAbsent(interval)) return number;
  const auto is_null = [](JsonValue end) { return end.IsNull(); };
  if (interval->IsList() && std::ranges::any_of(interval->Items(), is_null)) return number;
  const auto [low, high] = fields.Interval(metric.interval_path);
  number.low = convert(low);
  number.high = convert(high);
  return number;
}

std::vector<SpeedPoint> ReadPoints(const RecordFields& fields, const std::string& path) {
  std::vector<SpeedPoint> points;
  for (const RecordFields& item : fields.Maps(path)) {
    SpeedPoint point{item.CountFromOne("tokens"), item.CountFromOne("threads")};
    point.samples = item.Positives("samples", 1, kMostRepetitions);
    std::vector<double> sorted = point.samples;
    point.median = Quantile(sorted, 0.5);
    point.low = Quantile(sorted, 0.25);
    point.high = Quantile(sorted, 0.75);
    if (item.Has("vs_fp16")) point.vs_fp16 = item.Positive("vs_fp16");
    if (item.Has("fp16_samples"))
      point.fp16_samples = item.Positives("fp16_samples", 1, kMostRepetitions);
    points.push_back(std::move(point));
  }
  return points;
}

void ReadSpeeds(const RecordFields& fields, TableRecord& record) {
  record.prefill = ReadPoints(fields, kPrefillPath);
  record.decode = ReadPoints(fields, kDecodePath);
  if (record.prefill.empty() && record.decode.empty()) return;
  record.busy = fields.Flag("throughput.busy");
  record.timing = TimingOf(fields);
}

// What the caption says of text and calibration.
void ReadOrigins(const RecordFields& fields, TableRecord& record) {
  const auto text = [&](const std::string& section) {
    const std::string split = fields.TextOr(section + ".split", "");
    return PublicName(fields.Text(section + ".dataset")) + (split.empty() ? "" : " " + split);
  };
  const std::string split = fields.TextOr("dataset.split", "");
  record.text = PublicName(fields.Text("dataset.name")) + (split.empty() ? "" : " " + split);
  record.text_sha256 = fields.Text("dataset.sha256");
  record.scored =
      std::accumulate(record.stored.window_scored.begin(), record.stored.window_scored.end(), 0.0);
  if (!fields.Has("calibration") || fields.Text("calibration.used_by") != "method") return;
  if (!fields.Has("calibration.dataset")) return;
  const std::string distinct =
      !fields.Has("calibration.distinct_tokens")
          ? ""
          : fmt::format(" ({} distinct)",
                        WithThousands(fields.Count("calibration.distinct_tokens")));
  record.calibration = fmt::format(
      "{}, {} × {} tokens{}, seed {}", text("calibration"), fields.Number("calibration.samples"),
      fields.Number("calibration.length"), distinct, fields.Number("calibration.seed"));
}

// The aggregates must be those of the samples beside them.
void CheckPerplexity(const RecordFields& fields, const TableRecord& record) {
  if (IsAbsent(fields.Find("accuracy.ppl"))) return;
  const double nll = record.stored.MeanNll();
  const double stated = std::log(fields.Number("accuracy.ppl"));
  if (std::abs(stated - nll) <= kSameNll * std::max(1.0, std::abs(nll))) return;
  fields.Fail("accuracy.ppl", fmt::format("{:.9g}, as accuracy.window_nll says", std::exp(nll)),
              DescribeJson(fields.Find("accuracy.ppl")));
}

bool PassesAll(const std::vector<FieldFilter>& filters, const TableRecord& record) {
  return std::all_of(filters.begin(), filters.end(), [&](const FieldFilter& filter) {
    return filter.Passes(record.Field(filter.field));
  });
}

}  // namespace

TableRecord ReadTableRecord(JsonValue json, const fs::path& file,
                            const std::vector<std::string>& named) {
  const RecordFields fields(json, file.string());
  TableRecord record;
  record.stored = ReadRecord(json, file);
  record.synthetic = !record.stored.HasAccuracy();
  for (const std::string& field : named) record.fields[field] = FieldText(fields, field);
  ReadSpeeds(fields, record);
  for (const TableMetric& metric : TableMetrics()) {
    if (metric.IsSpeed()) continue;
    if (const auto number = ReadNumber(fields, metric)) record.numbers[metric.name] = *number;
  }
  if (!record.synthetic) {
    const size_t windows = record.stored.window_nll.size();
    for (const TableMetric& metric : TableMetrics()) {
      if (!metric.IsSpeed() && !metric.IsNll() && !metric.samples.empty())
        record.windows[metric.samples] = WindowSums(fields, metric.samples, windows);
    }
    CheckPerplexity(fields, record);
    ReadOrigins(fields, record);
  }
  return record;
}

TableRecords SelectRecords(const TableSpec& spec, std::vector<TableRecord> all) {
  TableRecords read;
  for (const TableRecord& record : all) {
    read.ids.push_back(record.stored.id);
    read.runs.push_back(record.stored.Fact("run"));
  }
  std::sort(read.ids.begin(), read.ids.end());
  std::sort(read.runs.begin(), read.runs.end());
  std::sort(all.begin(), all.end(), [](const TableRecord& a, const TableRecord& b) {
    return IsBefore(a.stored, b.stored);
  });
  for (TableRecord& record : all) {
    if (read.records.empty() || read.records.back().stored.cell != record.stored.cell)
      read.records.push_back(std::move(record));
  }
  std::erase_if(read.records, [&](const TableRecord& r) { return !PassesAll(spec.where, r); });
  return read;
}

TableRecords ReadTableRecords(const TableSpec& spec, size_t threads) {
  const std::vector<fs::path> files = MatchFiles(spec.Folder(), spec.records);
  const std::vector<std::string> fields = spec.Fields();
  std::vector<TableRecord> all(files.size());
  ParallelFor(files.size(), threads, [&](size_t i, size_t) {
    all[i] = ReadTableRecord(JsonDocument::Read(files[i]).root(), files[i], fields);
  });
  return SelectRecords(spec, std::move(all));
}

}  // namespace quantref
