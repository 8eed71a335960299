#include "eval/report/records.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/report/columns.h"
#include "eval/support/public_name.h"
#include "harness/base/parallel.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Values = std::vector<std::pair<std::string, std::string>>;

// Lists up to this long are shown: intervals, not samples.
constexpr size_t kLongestList = 4;

bool IsShort(const Json& list) {
  return list.size() <= kLongestList &&
         std::none_of(list.begin(), list.end(),
                      [](const Json& item) { return item.is_structured(); });
}

void AddValues(const Json& value, const std::string& path, Values& values) {
  if (path == "config.resolved") return;
  if (value.is_object()) {
    for (const auto& [key, item] : value.items())
      AddValues(item, path.empty() ? key : path + "." + key, values);
  } else if (value.is_string()) {
    values.emplace_back(path, value.get<std::string>());
  } else if (value.is_array() && !IsShort(value)) {
    values.emplace_back(path, fmt::format("(a list of {})", value.size()));
  } else {
    values.emplace_back(path, value.dump());
  }
}

// Records may name models and texts by where somebody's files lie.
void HidePaths(Json& record) {
  for (const char* name :
       {"/model/name", "/dataset/name", "/calibration/dataset", "/config/resolved/model/name",
        "/config/resolved/accuracy/dataset", "/config/resolved/calibration/dataset"}) {
    const Json::json_pointer pointer(name);
    if (!record.contains(pointer) || !record[pointer].is_string()) continue;
    record[pointer] = PublicName(record[pointer].get<std::string>());
  }
}

PageRecord ReadOne(const fs::path& file, const std::vector<std::string>& fields) {
  Json json = ReadJsonFile(file);
  HidePaths(json);
  PageRecord record{ReadTableRecord(json, file, fields)};
  record.values.emplace_back("(file)", file.filename().string());
  AddValues(json, "", record.values);
  record.resolved = json["config"]["resolved"].dump(2);
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
