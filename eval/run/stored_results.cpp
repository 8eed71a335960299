#include "eval/run/stored_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

#include "eval/record/protocol_text.h"
#include "eval/record/reader.h"
#include "eval/record/reader_fields.h"
#include "eval/record/reference.h"
#include "eval/support/public_name.h"
#include "eval/support/text_table.h"
#include "harness/base/parallel.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

struct File {
  Json json;
  StoredRecord stored;
};

double Number(const RecordFields& fields, const std::string& path) {
  const Json* value = fields.Find(path);
  if (value == nullptr || !value->is_number()) fields.Fail(path, "a number", DescribeJson(value));
  return value->get<double>();
}

double NumberOr(const RecordFields& fields, const std::string& path, double otherwise) {
  return fields.Find(path) == nullptr ? otherwise : Number(fields, path);
}

std::string TextOr(const RecordFields& fields, const std::string& path,
                   const std::string& otherwise) {
  return fields.Find(path) == nullptr ? otherwise : fields.Text(path);
}

Estimate ReadEstimate(const RecordFields& fields, const std::string& mean,
                      const std::string& interval) {
  Estimate estimate;
  estimate.mean = Number(fields, mean);
  const Json* ends = fields.Find(interval);
  if (ends == nullptr) return estimate;
  if (!ends->is_array() || ends->size() != 2 || !(*ends)[0].is_number() || !(*ends)[1].is_number())
    fields.Fail(interval, "the two ends of an interval", ends->dump());
  estimate.interval = Interval{estimate.mean, (*ends)[0].get<double>(), (*ends)[1].get<double>()};
  return estimate;
}

// The PPL's ends are in the record, its mean NLL follows from the windows.
Perplexity ReadPerplexity(const RecordFields& fields, const StoredRecord& stored) {
  Perplexity perplexity;
  perplexity.nll.mean = stored.MeanNll();
  perplexity.ppl = std::exp(perplexity.nll.mean);
  if (fields.Find("accuracy.ppl_ci95") == nullptr) return perplexity;
  const Estimate ppl = ReadEstimate(fields, "accuracy.ppl", "accuracy.ppl_ci95");
  perplexity.nll.interval =
      Interval{perplexity.nll.mean, std::log(ppl.interval->low), std::log(ppl.interval->high)};
  return perplexity;
}

void ReadAccuracy(const RecordFields& fields, const StoredRecord& stored, RunConfig& config,
                  CellResult& cell) {
  cell.perplexity = ReadPerplexity(fields, stored);
  cell.reference_name = TextOr(fields, "accuracy.reference", "fp16");
  if (cell.spec == nullptr) return;
  Comparison comparison;
  comparison.delta_nll = ReadEstimate(fields, "accuracy.delta_nll", "accuracy.delta_nll_ci95");
  comparison.minimum_detectable = NumberOr(fields, "accuracy.minimum_detectable_delta_nll", 0);
  const auto has = [&](const char* field) { return fields.Find(field) != nullptr; };
  config.accuracy.metrics = {.kl = has("accuracy.kl_mean"), .top1 = has("accuracy.top1_agreement")};
  if (config.accuracy.metrics.kl)
    comparison.kl = ReadEstimate(fields, "accuracy.kl_mean", "accuracy.kl_ci95");
  if (config.accuracy.metrics.top1)
    comparison.top1 = ReadEstimate(fields, "accuracy.top1_agreement", "accuracy.top1_ci95");
  cell.comparison = comparison;
  for (const RecordFields& other : fields.Maps("accuracy.against")) {
    const Estimate delta = ReadEstimate(other, "delta_nll", "delta_nll_ci95");
    if (delta.interval)
      cell.against.push_back({other.Text("config"), other.Text("method"), *delta.interval});
  }
}

// The scheme of that name; names of activations are as few as their schemes.
std::optional<ActivationScheme> ActivationsNamed(const std::string& name) {
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (const ActivationScheme& scheme :
         {ActivationScheme{bits, true, true}, ActivationScheme{bits, false, true},
          ActivationScheme{bits, false, false}}) {
      if (ActivationName(scheme) == name) return scheme;
    }
  }
  return std::nullopt;
}

WeightScheme ReadScheme(const RecordFields& fields) {
  WeightScheme scheme;
  scheme.bits = static_cast<int>(fields.CountFromOne("scheme.bits"));
  const std::string granularity = TextOr(fields, "scheme.granularity", "group");
  for (const Granularity known :
       {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
    if (granularity == GranularityName(known)) scheme.granularity = known;
  }
  if (fields.Find("scheme.group") != nullptr) scheme.group = fields.CountFromOne("scheme.group");
  scheme.symmetric = fields.Flag("scheme.symmetric");
  scheme.full_range = fields.Flag("scheme.full_range");
  scheme.zero_in_range =
      fields.Find("scheme.zero_in_range") == nullptr || fields.Flag("scheme.zero_in_range");
  return scheme;
}

// The entries of the config's methods; none where it has none.
std::vector<Json> MethodEntries(const RecordFields& fields) {
  const Json* methods = fields.Find("config.resolved.quantize.methods");
  if (methods == nullptr || !methods->is_array()) return {};
  return {methods->begin(), methods->end()};
}

bool IsEntryOf(const Json& entry, const std::string& method) {
  if (entry.is_string()) return entry == method;
  return entry.is_object() && entry.contains("label") && entry["label"] == method;
}

// Where the method stands in its config, from 1; 0: the reference.
size_t PlaceOf(const RecordFields& fields, const std::string& method) {
  const std::vector<Json> entries = MethodEntries(fields);
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const Json& entry) { return IsEntryOf(entry, method); });
  return IsReferenceName(method) ? 0 : 1 + static_cast<size_t>(found - entries.begin());
}

bool IsMixed(const RecordFields& fields, const std::string& method) {
  const Json* overrides = fields.Find("config.resolved.quantize.overrides");
  bool mixed = overrides != nullptr && !overrides->empty();
  for (const Json& entry : MethodEntries(fields)) {
    if (IsEntryOf(entry, method) && entry.is_object() && entry.contains("overrides"))
      mixed = !entry["overrides"].empty();
  }
  return mixed;
}

CellConfig ReadSpec(const RecordFields& fields, const std::string& method) {
  CellConfig spec;
  spec.label = method;
  spec.quantize.weights = ReadScheme(fields);
  spec.activations = ActivationsNamed(TextOr(fields, "activations", "none"));
  if (IsMixed(fields, method)) spec.quantize.overrides.resize(1);
  return spec;
}

// Rates, as the record has them, back to times; `of_fp16` gets those of FP16 beside them. Older
// records have the ratio alone, whose median is all that is shown.
std::vector<ModelTiming> ReadTimings(const RecordFields& fields, const std::string& path,
                                     std::vector<ModelTiming>& of_fp16) {
  constexpr size_t kMostSamples = 1000;
  std::vector<ModelTiming> timings;
  for (const RecordFields& item : fields.Maps(path)) {
    ModelTiming timing{item.CountFromOne("tokens"), item.CountFromOne("threads"), {}};
    const auto times = [&](const std::vector<double>& rates) {
      Samples samples;
      for (const double rate : rates)
        samples.seconds.push_back(static_cast<double>(timing.tokens) / rate);
      return samples;
    };
    const std::vector<double> rates = item.Positives("samples", 1, kMostSamples);
    timing.samples = times(rates);
    if (item.Find("vs_fp16") != nullptr) {
      ModelTiming fp16 = timing;
      fp16.samples = item.Find("fp16_samples") != nullptr
                         ? times(item.Positives("fp16_samples", 1, kMostSamples))
                         : times({TokenRates(timing).Median() / item.Positive("vs_fp16")});
      of_fp16.push_back(std::move(fp16));
    }
    timings.push_back(std::move(timing));
  }
  return timings;
}

std::optional<CellSpeed> ReadCellSpeed(const RecordFields& fields) {
  if (fields.Find("throughput") == nullptr) return std::nullopt;
  auto run = std::make_shared<Throughput>();
  CellThroughput own, fp16;
  own.prefill = ReadTimings(fields, "throughput.prefill_tokens_s", fp16.prefill);
  own.decode = ReadTimings(fields, "throughput.decode_tokens_s", fp16.decode);
  if (const Json* decoded = fields.Find("throughput.decoded_each_call"))
    own.decoded_each_call.resize(decoded->size());
  run->cores = {NumberOr(fields, "throughput.free_cores.before", 2),
                NumberOr(fields, "throughput.free_cores.after", 2)};
  const bool copy = fields.Flag("throughput.fp16_copy");
  CellSpeed speed;
  if (!copy && fp16.prefill.empty() && fp16.decode.empty()) {  // FP16 itself, or without it
    run->cells = {own};
  } else {
    run->cells = {copy ? own : fp16, own, fp16};
    speed.model = 1;
    speed.fp16 = copy ? 2 : 0;
  }
  speed.run = std::move(run);
  return speed;
}

void AddNotices(const RecordFields& fields, const StoredRecord& stored,
                std::vector<std::string>& notices) {
  std::vector<std::string> lines;
  for (const Stamp& stamp : stored.stamps) lines.push_back(stamp.text);
  if (TextOr(fields, "calibration.used_by", "") == "method") {
    const std::string text = TextName(TextOr(fields, "calibration.dataset", ""),
                                      TextOr(fields, "calibration.split", ""));
    std::string line =
        fmt::format("calibrated on {}, {} x {} tokens", text, Number(fields, "calibration.samples"),
                    Number(fields, "calibration.length"));
    if (fields.Find("calibration.distinct_tokens") != nullptr) {
      line +=
          fmt::format(", {} distinct", WithThousands(fields.Count("calibration.distinct_tokens")));
    }
    lines.insert(lines.begin(), std::move(line));
  }
  for (const std::string& line : lines) {
    if (std::find(notices.begin(), notices.end(), line) == notices.end()) notices.push_back(line);
  }
}

// The matrices with another method's codes, which the table tells of.
void ReadOtherMethods(const RecordFields& fields, CellResult& cell) {
  for (const RecordFields& item : fields.Maps("layers")) {
    if (item.Find("asked") == nullptr) continue;
    LayerReport layer;
    layer.name = item.Text("name");
    layer.method = item.Text("method");
    layer.asked = item.Text("asked");
    layer.note = TextOr(item, "note", "");
    cell.layers.push_back(std::move(layer));
  }
}

void ReadCell(const File& file, StoredResults& results) {
  const RecordFields fields(file.json, file.stored.file.string());
  const CellName& name = file.stored.cell;
  const auto same = [&](const RunConfig& config) { return config.name == name.config; };
  auto config = std::find_if(results.configs.begin(), results.configs.end(), same);
  if (config == results.configs.end()) {
    config = results.configs.emplace(results.configs.end());
    config->name = name.config;
    config->model.synthetic = !file.stored.HasAccuracy();
  }
  CellResult cell{.config = &*config, .spec = nullptr, .label = name.method, .model = 0};
  if (!IsReferenceName(name.method))
    cell.spec = &results.specs.emplace_back(ReadSpec(fields, name.method));
  if (name.seed) cell.label += " seed=" + std::to_string(*name.seed);
  cell.bits.blocks = Number(fields, "effective_bits");
  if (file.stored.HasAccuracy()) ReadAccuracy(fields, file.stored, *config, cell);
  cell.speed = ReadCellSpeed(fields);
  ReadOtherMethods(fields, cell);
  cell.quantize_seconds = NumberOr(fields, "seconds.quantize", 0);
  cell.evaluate_seconds = NumberOr(fields, "seconds.evaluate", 0);
  results.cells.push_back(std::move(cell));
  AddNotices(fields, file.stored, results.notices);
}

MeasuredOn ReadMeasuredOn(const File& file) {
  const RecordFields fields(file.json, file.stored.file.string());
  const std::string random = file.stored.HasAccuracy() ? "" : " with random weights";
  const bool bos = file.stored.Fact("protocol.bos") != "false";
  MeasuredOn on{file.stored.cell.model + random, "", ProtocolText(file.stored.cell.protocol, bos)};
  if (fields.Find("model.outliers") != nullptr)
    on.outliers = OutlierSpec{Number(fields, "model.outliers.channels"),
                              Number(fields, "model.outliers.scale")};
  on.text = TextName(TextOr(fields, "dataset.name", ""), TextOr(fields, "dataset.split", ""));
  const std::vector<double>& scored = file.stored.window_scored;
  on.windows = scored.size();
  on.scored = static_cast<size_t>(std::accumulate(scored.begin(), scored.end(), 0.0));
  on.all_windows = static_cast<size_t>(
      NumberOr(fields, "protocol.cut_from_windows", static_cast<double>(scored.size())));
  on.stopped_early = fields.Flag("protocol.stopped_early");
  on.environment.threads = static_cast<size_t>(NumberOr(fields, "environment.threads", 1));
  on.environment.isa = fields.Text("environment.isa");
  on.environment.blas = fields.Text("environment.blas");
  return on;
}

// Equal for records of one run on the same windows. Records without a run's id were made in the
// same second.
std::string RunKey(const File& file) {
  const RecordFields fields(file.json, file.stored.file.string());
  const StoredRecord& record = file.stored;
  return TextOr(fields, "run", record.created) + record.cell.model + record.cell.protocol +
         record.Fact("model.sha256") + record.Fact("model.outliers") +
         record.Fact("protocol.token_sha256") + (record.HasAccuracy() ? "" : record.cell.config);
}

using Run = std::vector<const File*>;

std::vector<Run> RunsOf(const std::vector<File>& files) {
  std::map<std::string, Run> by_key;
  for (const File& file : files) by_key[RunKey(file)].push_back(&file);
  std::vector<Run> runs;
  for (auto& [key, run] : by_key) runs.push_back(std::move(run));
  const auto began = [](const Run& run) {
    const auto created = [](const File* file) { return file->stored.created; };
    return created(*std::ranges::min_element(run, {}, created));
  };
  std::ranges::stable_sort(runs, {}, began);
  return runs;
}

std::vector<File> ReadFiles(const std::vector<fs::path>& files, size_t threads) {
  std::vector<std::vector<File>> read(files.size());
  ParallelFor(files.size(), threads, [&](size_t i, size_t) {
    Json json = ReadJsonFile(files[i]);
    if (!json.is_array()) json = Json::array({std::move(json)});
    for (Json& record : json) {
      StoredRecord stored = ReadRecord(record, files[i]);
      read[i].push_back({std::move(record), std::move(stored)});
    }
  });
  std::vector<File> all;
  for (std::vector<File>& some : read) std::move(some.begin(), some.end(), std::back_inserter(all));
  return all;
}

}  // namespace

std::deque<StoredResults> ReadStoredResults(const std::vector<fs::path>& files, size_t threads) {
  const std::vector<File> all = ReadFiles(files, threads);
  std::deque<StoredResults> results;
  for (Run& of_run : RunsOf(all)) {
    const auto place = [](const File* file) {
      const CellName& name = file->stored.cell;
      const RecordFields fields(file->json, file->stored.file.string());
      return std::tuple(name.config, PlaceOf(fields, name.method), name.seed);
    };
    std::stable_sort(of_run.begin(), of_run.end(),
                     [&](const File* a, const File* b) { return place(a) < place(b); });
    StoredResults& run = results.emplace_back();
    run.on = ReadMeasuredOn(*of_run.front());
    for (const File* file : of_run) ReadCell(*file, run);
  }
  return results;
}

std::string StoredResultsText(const std::deque<StoredResults>& results, const TableView& view) {
  std::string text;
  for (const StoredResults& run : results) {
    std::string notices;
    for (const std::string& notice : run.notices) notices += notice + "\n";
    text += ResultText(run.on, notices, run.cells, view);
  }
  return text;
}

}  // namespace quantref
