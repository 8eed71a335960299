#include "eval/record/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <system_error>
#include <tuple>
#include <utility>

#include "eval/record/reader_fields.h"
#include "eval/record/reader_speed.h"
#include "eval/record/reference.h"
#include "eval/record/schema.h"
#include "eval/support/files.h"
#include "eval/support/public_name.h"
#include "eval/support/text_table.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kTextFacts[] = {
    "config.sha256",         "tool.version",         "tool.git_commit",   "environment.cpu",
    "environment.isa",       "environment.compiler", "environment.flags", "environment.blas",
    "environment.blas_core", "environment.os",
};
// Of a text, a checkpoint and their hashes, which synthetic models lack.
constexpr const char* kAccuracyFacts[] = {
    "model.sha256",   "model.tokenizer_sha256",     "model.dtype",
    "dataset.sha256", "hashes.first_window_logits", "protocol.token_sha256",
};
constexpr const char* kOptionalFacts[] = {
    "hashes.packed_weights", "calibration.token_sha256", "path",
    "model.config_sha256",   "tool.program_sha256",      "run"};
// Flags, numbers and maps.
constexpr const char* kJsonFacts[] = {
    "tool.dirty",   "model.outliers",         "model.synthetic",           "model.parameters",
    "protocol.bos", "protocol.stopped_early", "simulated_vs_kernel.failed"};

// Only versions that mean the same can be compared.
void CheckSchema(const RecordFields& fields) {
  const Json* schema = fields.Find("schema");
  if (schema == nullptr || !schema->is_number_integer() || *schema != kRecordSchema)
    fields.Fail("schema", std::to_string(kRecordSchema), DescribeJson(schema));
}

// "2026-01-31T12:34:56Z": then text order is time order.
std::string Created(const RecordFields& fields) {
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:ddZ";
  std::string created = fields.Text("created");
  const bool fits =
      std::equal(created.begin(), created.end(), kForm.begin(), kForm.end(),
                 [](char c, char form) { return form == 'd' ? c >= '0' && c <= '9' : c == form; });
  if (!fits) fields.Fail("created", "a time like 2026-01-31T12:34:56Z", Quoted(created));
  return created;
}

void ReadFacts(const RecordFields& fields, bool synthetic, StoredRecord& record) {
  for (const char* path : kTextFacts) record.facts[path] = fields.Text(path);
  if (!synthetic) {
    for (const char* path : kAccuracyFacts) record.facts[path] = fields.Text(path);
  }
  for (const char* path : kOptionalFacts) {
    if (fields.Find(path) != nullptr) record.facts[path] = fields.Text(path);
  }
  for (const char* path : kJsonFacts) {
    if (const Json* value = fields.Find(path)) record.facts[path] = value->dump();
  }
  if (fields.Find("calibration") == nullptr) return;
  if (fields.Text("calibration.used_by") != "method")
    record.facts.erase("calibration.token_sha256");
}

void ReadWindows(const RecordFields& fields, StoredRecord& record) {
  const size_t windows = fields.CountFromOne("protocol.windows");
  const std::string scored_path = "protocol.window_scored", index_path = "protocol.window_index";
  for (const size_t scored : fields.Counts(scored_path, windows)) {
    if (scored == 0)
      fields.Fail(RecordFields::Item(scored_path, record.window_scored.size()), "at least 1", "0");
    record.window_scored.push_back(static_cast<double>(scored));
  }
  if (fields.Find(index_path) == nullptr) {
    record.window_index.resize(windows);
    std::iota(record.window_index.begin(), record.window_index.end(), size_t{0});
  } else {
    record.window_index = fields.Counts(index_path, windows);
    for (size_t w = 1; w < windows; ++w) {
      if (record.window_index[w] > record.window_index[w - 1]) continue;
      fields.Fail(RecordFields::Item(index_path, w), "more than the one before",
                  std::to_string(record.window_index[w]));
    }
  }
  record.window_nll = fields.Sums("accuracy.window_nll", windows);
  record.reference_window_nll = record.cell.reference
                                    ? record.window_nll
                                    : fields.Sums("accuracy.reference_window_nll", windows);
}

void ReadMatrices(const RecordFields& fields, StoredRecord& record) {
  for (const RecordFields& layer : fields.Maps("layers")) {
    if (layer.Find("packed_sha256") != nullptr)
      record.matrices.push_back({layer.Text("name"), layer.Text("packed_sha256")});
  }
}

void ReadSeconds(const RecordFields& fields, StoredRecord& record) {
  const auto seconds = [&](const char* path) {
    return fields.Find(path) == nullptr ? 0 : fields.NotNegative(path);
  };
  record.accuracy_seconds = seconds("seconds.quantize") + seconds("seconds.evaluate");
  record.speed_seconds = seconds("seconds.throughput");
}

std::vector<fs::path> RecordFiles(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (entry->is_directory(error)) {
      if (IsHidden(entry->path())) entry.disable_recursion_pending();
    } else if (!IsHidden(entry->path()) && entry->path().extension() == ".json") {
      files.push_back(entry->path());
    }
  }
  if (error) throw Error("cannot be read: " + error.message(), folder.string());
  if (files.empty()) {
    throw Error("expected records (*.json), found none", folder.string(),
                "run_eval --out DIR writes them there");
  }
  std::sort(files.begin(), files.end());
  return files;
}

// One record; `where` names it in messages.
StoredRecord ParseRecord(const Json& json, const fs::path& file, const std::string& where) {
  const RecordFields fields(json, where);
  CheckSchema(fields);
  const bool synthetic = fields.Flag("model.synthetic");
  StoredRecord record;
  record.file = file;
  record.id = fields.Text("id");
  record.created = Created(fields);
  record.cell = {fields.Text("config.name"), fields.Text("method"),
                 PublicName(fields.Text("model.name")),
                 synthetic ? "" : fields.Text("protocol.name")};
  record.cell.reference = IsReferenceName(record.cell.method) && fields.Find("scheme") == nullptr;
  if (fields.Find("calibration.seeds") != nullptr)
    record.cell.seed = fields.Count("calibration.seed");
  const Json* resolved = fields.Find("config.resolved");
  if (resolved == nullptr || !resolved->is_object())
    fields.Fail("config.resolved", "a map", DescribeJson(resolved));
  record.resolved = resolved->dump();
  ReadFacts(fields, synthetic, record);
  if (!synthetic) {
    ReadWindows(fields, record);
    for (const char* path :
         {"model.sha256", "model.tokenizer_sha256", "model.dtype", "model.outliers"})
      record.cell.identity += record.Fact(path) + " ";
  }
  ReadMatrices(fields, record);
  ReadSeconds(fields, record);
  record.stamps = StampsOf(fields);
  record.speed = ReadSpeed(fields);
  return record;
}

// The records of a list, as baselines have them.
std::vector<StoredRecord> ParseRecords(const Json& list, const fs::path& file) {
  if (list.empty()) throw Error("expected records, found an empty list", file.string());
  std::vector<StoredRecord> records;
  for (size_t i = 0; i < list.size(); ++i)
    records.push_back(ParseRecord(list[i], file, RecordFields::Item(file.string(), i)));
  return records;
}

std::vector<StoredRecord> ReadFolder(const fs::path& folder, size_t threads) {
  const std::vector<fs::path> files = RecordFiles(folder);
  std::vector<StoredRecord> records(files.size());
  ParallelFor(files.size(), threads, [&](size_t i, size_t) { records[i] = ReadRecord(files[i]); });
  return records;
}

}  // namespace

bool IsNewer(const StoredRecord& a, const StoredRecord& b) {
  return std::tie(a.created, a.id) > std::tie(b.created, b.id);
}

bool IsBefore(const StoredRecord& a, const StoredRecord& b) {
  return a.cell != b.cell ? a.cell < b.cell : IsNewer(a, b);
}

std::strong_ordering CellName::operator<=>(const CellName& other) const {
  const auto key = [](const CellName& cell) {
    return std::tuple(std::string_view(cell.config),
                      std::string_view(cell.reference ? kFp16Name : cell.method.c_str()),
                      std::string_view(cell.Model()), std::string_view(cell.protocol), cell.seed);
  };
  return key(*this) <=> key(other);
}

std::string CellName::Text() const {
  std::string text = config + " " + method;
  if (seed) text += fmt::format(" seed={}", *seed);
  return text;
}

std::string RateName::Text() const {
  return fmt::format("{} {}, {}", decode ? "decode" : "prefill", tokens, Plural(threads, "thread"));
}

std::string KernelName::Text() const {
  return fmt::format("{} {}x{}, M={}, {}{}", op, rows, cols, tokens, Plural(threads, "thread"),
                     streamed ? ", streamed" : "");
}

const std::string& StoredRecord::Fact(std::string_view path) const {
  static const std::string none = "none";
  const auto fact = facts.find(path);
  return fact == facts.end() ? none : fact->second;
}

double StoredRecord::MeanNll() const {
  return std::accumulate(window_nll.begin(), window_nll.end(), 0.0) /
         std::accumulate(window_scored.begin(), window_scored.end(), 0.0);
}

StoredRecord ReadRecord(const fs::path& file) { return ReadRecord(ReadJsonFile(file), file); }

StoredRecord ReadRecord(const Json& json, const fs::path& file) {
  return ParseRecord(json, file, file.string());
}

RecordSet ReadRecords(const fs::path& path, size_t threads) {
  std::error_code error;
  if (fs::is_directory(path, error)) return NewestRecords(ReadFolder(path, threads), path);
  const Json json = ReadJsonFile(path);
  if (json.is_array()) return NewestRecords(ParseRecords(json, path), path);
  RecordSet set{path, false, {}};
  set.records.push_back(ReadRecord(json, path));
  return set;
}

RecordSet NewestRecords(std::vector<StoredRecord> all, const fs::path& path) {
  std::sort(all.begin(), all.end(), IsBefore);
  RecordSet set{path, true, {}};
  for (StoredRecord& record : all) {
    if (set.records.empty() || set.records.back().cell != record.cell) {
      set.records.push_back(std::move(record));
    } else {
      ++set.passed_over;
    }
  }
  return set;
}

}  // namespace quantref
