#include "eval/record_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <system_error>
#include <tuple>
#include <utility>

#include "eval/record.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kTextFacts[] = {
    "config.sha256",     "model.sha256",     "model.tokenizer_sha256",
    "model.dtype",       "dataset.sha256",   "hashes.first_window_logits",
    "tool.version",      "tool.git_commit",  "protocol.token_sha256",
    "environment.cpu",   "environment.isa",  "environment.compiler",
    "environment.flags", "environment.blas", "environment.blas_core",
    "environment.os",
};
constexpr const char* kOptionalFacts[] = {"hashes.packed_weights", "calibration.token_sha256"};
constexpr const char* kJsonFacts[] = {"tool.dirty", "model.outliers"};  // one a flag, one a map

// Sums beyond this are no NLLs; their squares would overflow in the statistics.
constexpr double kLargestSum = 1e12;

std::string Describe(const Json* value) {
  if (value == nullptr) return "nothing";
  if (value->is_null()) return "null";
  if (value->is_object()) return "a map";
  if (value->is_array()) return fmt::format("a list of {}", value->size());
  return value->is_string() ? Quoted(value->get_ref<const std::string&>()) : value->dump();
}

// Strict access to a record by dotted paths.
class Fields {
 public:
  Fields(const Json& record, std::string file) : record_(record), file_(std::move(file)) {
    if (!record.is_object())
      throw Error("expected a record, found " + Describe(&record), file_, kHint);
  }

  const Json* Find(std::string_view path) const {
    const Json* value = &record_;
    while (value != nullptr && !path.empty()) {
      const size_t end = std::min(path.find('.'), path.size());
      if (!value->is_object()) return nullptr;
      const auto item = value->find(path.substr(0, end));
      value = item == value->end() ? nullptr : &*item;
      path.remove_prefix(std::min(end + 1, path.size()));
    }
    return value;
  }

  [[noreturn]] void Fail(const std::string& path, const std::string& expected,
                         const std::string& found) const {
    throw Error(fmt::format("expected {}, found {}", expected, found), file_ + ": " + path, kHint);
  }

  // One line of text: it will be printed.
  std::string Text(const std::string& path) const {
    const Json* value = Find(path);
    if (value == nullptr || !value->is_string()) Fail(path, "text", Describe(value));
    const std::string& text = value->get_ref<const std::string&>();
    const bool printable = std::none_of(text.begin(), text.end(), [](char c) {
      return static_cast<unsigned char>(c) < ' ' || c == '\x7f';
    });
    if (!printable) Fail(path, "text without control characters", Quoted(text));
    return text;
  }

  size_t Count(const std::string& path) const { return Count(path, Find(path)); }

  // `count` sums over windows.
  std::vector<double> Sums(const std::string& path, size_t count) const {
    const Json& list = List(path, count);
    std::vector<double> sums;
    sums.reserve(count);
    for (const Json& item : list) {
      const double sum = item.is_number() ? item.get<double>() : HUGE_VAL;
      if (std::abs(sum) > kLargestSum)
        Fail(Item(path, sums.size()), "an NLL in nats", Describe(&item));
      sums.push_back(sum);
    }
    return sums;
  }

  // `count` whole numbers.
  std::vector<size_t> Counts(const std::string& path, size_t count) const {
    const Json& list = List(path, count);
    std::vector<size_t> counts;
    counts.reserve(count);
    for (const Json& item : list) counts.push_back(Count(Item(path, counts.size()), &item));
    return counts;
  }

  static std::string Item(const std::string& path, size_t index) {
    return fmt::format("{}[{}]", path, index);
  }

 private:
  static constexpr const char* kHint = "results/README.md describes records";

  const Json& List(const std::string& path, size_t count) const {
    const Json* value = Find(path);
    if (value == nullptr || !value->is_array() || value->size() != count)
      Fail(path, fmt::format("a list of {}, one a window", count), Describe(value));
    return *value;
  }

  size_t Count(const std::string& path, const Json* value) const {
    if (value == nullptr || !value->is_number_unsigned() ||
        value->get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
      Fail(path, "a whole number below 2^32", Describe(value));
    }
    return value->get<size_t>();
  }

  const Json& record_;
  std::string file_;
};

// Only versions that mean the same can be compared.
void CheckSchema(const Fields& fields) {
  const Json* schema = fields.Find("schema");
  if (schema == nullptr || !schema->is_number_integer() || *schema != kRecordSchema)
    fields.Fail("schema", std::to_string(kRecordSchema), Describe(schema));
}

// "2026-01-31T12:34:56Z": then text order is time order.
std::string Created(const Fields& fields) {
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:ddZ";
  std::string created = fields.Text("created");
  const bool fits =
      std::equal(created.begin(), created.end(), kForm.begin(), kForm.end(),
                 [](char c, char form) { return form == 'd' ? c >= '0' && c <= '9' : c == form; });
  if (!fits) fields.Fail("created", "a time like 2026-01-31T12:34:56Z", Quoted(created));
  return created;
}

void ReadFacts(const Fields& fields, StoredRecord& record) {
  for (const char* path : kTextFacts) record.facts[path] = fields.Text(path);
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

void ReadWindows(const Fields& fields, StoredRecord& record) {
  const size_t windows = fields.Count("protocol.windows");
  if (windows == 0) fields.Fail("protocol.windows", "at least 1", "0");
  const std::string scored_path = "protocol.window_scored", index_path = "protocol.window_index";
  for (const size_t scored : fields.Counts(scored_path, windows)) {
    if (scored == 0)
      fields.Fail(Fields::Item(scored_path, record.window_scored.size()), "at least 1", "0");
    record.window_scored.push_back(static_cast<double>(scored));
  }
  if (fields.Find(index_path) == nullptr) {
    record.window_index.resize(windows);
    std::iota(record.window_index.begin(), record.window_index.end(), size_t{0});
  } else {
    record.window_index = fields.Counts(index_path, windows);
    for (size_t w = 1; w < windows; ++w) {
      if (record.window_index[w] > record.window_index[w - 1]) continue;
      fields.Fail(Fields::Item(index_path, w), "more than the one before",
                  std::to_string(record.window_index[w]));
    }
  }
  record.window_nll = fields.Sums("accuracy.window_nll", windows);
  record.reference_window_nll = record.cell.method == "fp16"
                                    ? record.window_nll
                                    : fields.Sums("accuracy.reference_window_nll", windows);
}

void ReadStamps(const Fields& fields, StoredRecord& record) {
  const auto stamped = [&](const char* path) {
    const Json* value = fields.Find(path);
    return value != nullptr && *value == true;
  };
  if (stamped("calibration.contaminated")) record.stamps.emplace_back("CONTAMINATED calibration");
  if (stamped("dataset.substituted_sample")) record.stamps.emplace_back("NOT WIKITEXT");
}

bool IsHidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

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

bool IsNewer(const StoredRecord& a, const StoredRecord& b) {
  return std::tie(a.created, a.id) > std::tie(b.created, b.id);
}

// Nothing for a record of random weights, which were timed and never evaluated.
std::optional<StoredRecord> ReadEvaluated(const fs::path& file) {
  const Json json = ReadJsonFile(file);
  const Fields fields(json, file.string());
  CheckSchema(fields);
  const Json* synthetic = fields.Find("model.synthetic");
  if (synthetic != nullptr && *synthetic == true) return std::nullopt;
  StoredRecord record;
  record.file = file;
  record.id = fields.Text("id");
  record.created = Created(fields);
  record.cell = {fields.Text("config.name"), fields.Text("method"), fields.Text("model.name"),
                 fields.Text("protocol.name")};
  if (fields.Find("calibration.seeds") != nullptr)
    record.cell.seed = fields.Count("calibration.seed");
  const Json* resolved = fields.Find("config.resolved");
  if (resolved == nullptr || !resolved->is_object())
    fields.Fail("config.resolved", "a map", Describe(resolved));
  record.resolved = resolved->dump();
  ReadFacts(fields, record);
  ReadWindows(fields, record);
  ReadStamps(fields, record);
  return record;
}

}  // namespace

std::string CellName::Text() const {
  std::string text = config + " " + method;
  if (seed) text += fmt::format(" seed={}", *seed);
  return text;
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

StoredRecord ReadRecord(const fs::path& file) {
  std::optional<StoredRecord> record = ReadEvaluated(file);
  if (record) return *std::move(record);
  throw Error("expected a record with accuracy, found one of synthetic weights: speed only",
              file.string());
}

RecordSet ReadRecords(const fs::path& path, size_t threads) {
  std::error_code error;
  const bool is_folder = fs::is_directory(path, error);
  const std::vector<fs::path> files = is_folder ? RecordFiles(path) : std::vector<fs::path>{path};
  std::vector<std::optional<StoredRecord>> read(files.size());
  ParallelFor(files.size(), threads, [&](size_t i, size_t) {
    read[i] = is_folder ? ReadEvaluated(files[i]) : ReadRecord(files[i]);
  });
  std::vector<StoredRecord> all;
  for (std::optional<StoredRecord>& record : read) {
    if (record) all.push_back(*std::move(record));
  }
  if (all.empty()) throw Error("expected records with accuracy, found none", path.string());
  std::sort(all.begin(), all.end(), [](const StoredRecord& a, const StoredRecord& b) {
    return a.cell != b.cell ? a.cell < b.cell : IsNewer(a, b);
  });
  RecordSet set{path, is_folder, {}};
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
