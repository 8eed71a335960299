#include "eval/report/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/record/note_text.h"
#include "eval/record/reader_fields.h"
#include "eval/record/schema.h"
#include "eval/report/columns.h"
#include "eval/support/public_name.h"
#include "harness/base/parallel.h"
#include "harness/io/json_reader.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Values = std::vector<std::pair<std::string, std::string>>;

// Lists up to this long are shown: intervals, not samples.
constexpr size_t kLongestList = 4;

bool IsShort(JsonValue list) {
  return list.size() <= kLongestList && std::ranges::none_of(list.Items(), [](JsonValue item) {
           return item.IsMap() || item.IsList();
         });
}

// Records may name models and texts by where somebody's files lie.
bool IsPlace(const std::string& path) {
  const RecordField* field = FindField(path);
  return field != nullptr && field->Is(Role::kPlace);
}

bool IsNotes(const std::string& path) { return path == kCandidateNotes || path == kReferenceNotes; }

void AddValues(JsonValue value, const std::string& path, Values& values) {
  if (path == "config.resolved") return;
  if (IsNotes(path) && value.size() > 0) {
    for (const JsonValue note : value.Items())
      values.emplace_back(path, NoteText(RecordFields(note, path)));
    return;
  }
  if (value.IsMap()) {
    auto entries = value.Entries();
    std::ranges::sort(entries, {}, [](const auto& entry) { return entry.first; });
    for (const auto& [key, item] : entries)
      AddValues(item, path.empty() ? std::string(key) : fmt::format("{}.{}", path, key), values);
  } else if (value.IsText()) {
    const std::string text(value.Text());
    values.emplace_back(path, IsPlace(path) ? PublicName(text) : text);
  } else if (value.IsList() && !IsShort(value)) {
    values.emplace_back(path, fmt::format("(a list of {})", value.size()));
  } else {
    values.emplace_back(path, value.Dump());
  }
}

// The config for reading, without the places of its model and texts.
std::string ConfigText(JsonValue resolved) {
  Json config = resolved.Copy();
  for (const char* name : {"/model/name", "/accuracy/dataset", "/calibration/dataset"}) {
    const Json::json_pointer pointer(name);
    if (config.contains(pointer) && config[pointer].is_string())
      config[pointer] = PublicName(config[pointer].get<std::string>());
  }
  return config.dump(2);
}

PageRecord ReadOne(const fs::path& file, const std::vector<std::string>& fields) {
  const JsonDocument document = JsonDocument::Read(file);
  const JsonValue json = document.root();
  PageRecord record{ReadTableRecord(json, file, fields)};
  record.notes = CandidateNotes(RecordFields(json, file.string()));
  record.values.emplace_back("(file)", file.filename().string());
  AddValues(json, "", record.values);
  record.resolved = ConfigText(*json.Find("config")->Find("resolved"));
  return record;
}

}  // namespace

std::vector<PageRecord> ReadPageRecords(const std::vector<fs::path>& files,
                                        std::vector<std::string> fields, size_t threads) {
  for (std::string& field : PageFields()) fields.push_back(std::move(field));
  std::vector<PageRecord> records(files.size());
  ParallelFor(files.size(), threads,
              [&](size_t i, size_t) { records[i] = ReadOne(files[i], fields); });
  std::sort(records.begin(), records.end(), [](const PageRecord& a, const PageRecord& b) {
    return IsBefore(a.table.stored, b.table.stored);
  });
  for (size_t i = 1; i < records.size(); ++i)
    records[i].newest = records[i].table.stored.cell != records[i - 1].table.stored.cell;
  return records;
}

}  // namespace quantref
