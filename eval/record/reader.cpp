#include "eval/record/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <system_error>
#include <tuple>
#include <utility>

#include "eval/record/check.h"
#include "eval/record/reader_fields.h"
#include "eval/record/reader_speed.h"
#include "eval/record/reference.h"
#include "eval/record/schema.h"
#include "eval/support/files.h"
#include "eval/support/public_name.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/io/json_file.h"
#include "harness/io/json_reader.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

// Only versions that mean the same can be compared.
void CheckSchema(const RecordFields& fields) {
  const std::optional<JsonValue> schema = fields.Find("schema");
  if (!schema || schema->Natural() != kRecordSchema)
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

// The fields whose values are kept, each asked for once.
const std::vector<const RecordField*>& KeptFacts() {
  static const std::vector<const RecordField*> facts = [] {
    std::vector<const RecordField*> kept;
    for (const RecordField& field : RecordSchema()) {
      if (field.IsFact()) kept.push_back(&field);
    }
    return kept;
  }();
  return facts;
}

// Where the record must have it, or has it.
bool IsSaid(const RecordFields& fields, const RecordField& field, bool synthetic) {
  return field.presence == Presence::kRequired ||
         (field.presence == Presence::kRequiredOfText && !synthetic) || fields.Has(field.path);
}

std::string FactText(const RecordFields& fields, const RecordField& field) {
  if (field.type == FieldType::kText) return fields.Text(field.path);
  if (field.type == FieldType::kFlag) return fields.Flag(field.path) ? "true" : "false";
  return fields.Find(field.path)->Dump();
}

void ReadFacts(const RecordFields& fields, bool synthetic, StoredRecord& record) {
  const bool by_method =
      !fields.Has("calibration") || fields.Text("calibration.used_by") == "method";
  for (const RecordField* field : KeptFacts()) {
    if (!by_method && field->stage == Stage::kCalibration &&
        field->path.starts_with("calibration."))
      continue;
    if (IsSaid(fields, *field, synthetic)) record.facts[field->path] = FactText(fields, *field);
  }
}

// What the weights are, whatever they are called.
std::string IdentityOf(const StoredRecord& record) {
  std::string identity;
  for (const RecordField* field : KeptFacts()) {
    if (field->Is(Role::kIdentity) && field->path.starts_with("model."))
      identity += record.Fact(field->path) + " ";
  }
  return identity;
}

void ReadWindows(const RecordFields& fields, StoredRecord& record) {
  const size_t windows = fields.CountFromOne("protocol.windows");
  const std::string scored_path = "protocol.window_scored", index_path = "protocol.window_index";
  for (const size_t scored : fields.Counts(scored_path, windows)) {
    if (scored == 0)
      fields.Fail(RecordFields::Item(scored_path, record.window_scored.size()), "at least 1", "0");
    record.window_scored.push_back(static_cast<double>(scored));
  }
  if (!fields.Has(index_path)) {
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
    if (layer.Has("packed_sha256"))
      record.matrices.push_back({layer.Text("name"), layer.Text("packed_sha256")});
  }
}

void ReadSeconds(const RecordFields& fields, StoredRecord& record) {
  const auto seconds = [&](const char* path) {
    return fields.Has(path) ? fields.NotNegative(path) : 0;
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
    } else if (IsRecordName(entry->path())) {
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
StoredRecord ParseRecord(JsonValue json, const fs::path& file, const std::string& where) {
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
  record.cell.reference = IsReferenceName(record.cell.method) && !fields.Has("scheme");
  if (fields.Has("calibration.seeds")) record.cell.seed = fields.Count("calibration.seed");
  record.resolved = fields.Map("config.resolved").json().Dump();
  ReadFacts(fields, synthetic, record);
  if (!synthetic) {
    ReadWindows(fields, record);
    record.cell.identity = IdentityOf(record);
  }
  ReadMatrices(fields, record);
  ReadSeconds(fields, record);
  record.stamps = StampsOf(fields);
  record.speed = ReadSpeed(fields);
  CheckRecord(fields);
  return record;
}

// The records of a list, as baselines have them.
std::vector<StoredRecord> ParseRecords(JsonValue list, const fs::path& file) {
  const std::vector<JsonValue> items = list.Items();
  if (items.empty()) throw Error("expected records, found an empty list", file.string());
  std::vector<StoredRecord> records;
  for (size_t i = 0; i < items.size(); ++i)
    records.push_back(ParseRecord(items[i], file, RecordFields::Item(file.string(), i)));
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
  const auto key = [](const StoredRecord& record) {
    return std::tuple(!record.Interrupted(), std::string_view(record.created),
                      std::string_view(record.id));
  };
  return key(a) > key(b);
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

const std::string& StoredRecord::Fact(std::string_view path) const {
  static const std::string none = "none";
  const RecordField* field = FindField(path);
  QR_CHECK(field != nullptr && field->IsFact());
  const auto fact = facts.find(path);
  return fact == facts.end() ? none : fact->second;
}

double StoredRecord::MeanNll() const {
  return std::accumulate(window_nll.begin(), window_nll.end(), 0.0) /
         std::accumulate(window_scored.begin(), window_scored.end(), 0.0);
}

StoredRecord ReadRecord(const fs::path& file) {
  return ReadRecord(JsonDocument::Read(file).root(), file);
}

StoredRecord ReadRecord(JsonValue json, const fs::path& file) {
  return ParseRecord(json, file, file.string());
}

RecordSet ReadRecords(const fs::path& path, size_t threads) {
  std::error_code error;
  if (fs::is_directory(path, error)) return NewestRecords(ReadFolder(path, threads), path);
  const JsonDocument json = JsonDocument::Read(path);
  if (json.root().IsList()) return NewestRecords(ParseRecords(json.root(), path), path);
  RecordSet set{path, false, {}};
  set.records.push_back(ReadRecord(json.root(), path));
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
