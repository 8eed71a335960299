#include "eval/record/store.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>

#include "eval/record/check.h"
#include "eval/support/say.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/io/json_reader.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPartialEnd = ".partial.json";

// Among the temporary files, or where the program was started.
fs::path NewFolder() {
  std::error_code error;
  std::string path;
  for (const fs::path& base : {fs::temp_directory_path(error), fs::path(".")}) {
    path = (base / "quantref-records-XXXXXX").string();
    if (mkdtemp(path.data()) != nullptr) return path;
  }
  throw std::system_error(errno, std::generic_category(), path);
}

// What readers will say of the text; "" where they take it.
std::string WhyWrong(const std::string& json) {
  try {
    const JsonDocument document = JsonDocument::Parse(json, "record");
    CheckWritten(RecordFields(document.root(), "record"));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

Record FinishRecord(nlohmann::ordered_json fields) {
  const std::string id = Sha256Hex(fields.dump()).substr(0, 16);
  fields["id"] = id;
  std::string json = fields.dump(1) + "\n";
  QR_CHECK_EQ(WhyWrong(json), "");
  std::string time = fields["created"].get<std::string>();
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  const bool interrupted = fields.value("/protocol/interrupted"_json_pointer, false);
  return {fmt::format("{}-{}-{}-{}{}", fields["config"]["name"].get<std::string>(),
                      fields["method"].get<std::string>(), time, id.substr(0, 8),
                      interrupted ? kPartialEnd : ".json"),
          std::move(json)};
}

std::vector<fs::path> WriteRecords(std::span<const Record> records, const fs::path& folder) {
  std::vector<fs::path> written;
  try {
    for (const Record& record : records) {
      WriteFileAtomically(folder / record.file_name, record.json, false);
      written.push_back(folder / record.file_name);
    }
  } catch (...) {
    std::error_code ignored;
    for (const fs::path& path : written) fs::remove(path, ignored);
    throw;
  }
  return written;
}

void RemoveInterrupted(const fs::path& folder,
                       const std::function<bool(const StoredRecord& record)>& replaced) {
  std::error_code error;
  std::vector<fs::path> superseded;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.ends_with(kPartialEnd) || name.starts_with('.')) continue;
    try {
      if (replaced(ReadRecord(entry->path()))) superseded.push_back(entry->path());
    } catch (const Interrupted&) {
      throw;
    } catch (const Error&) {
    }
  }
  for (const fs::path& path : superseded) fs::remove(path, error);
}

void PrepareFolder(const fs::path& folder, const std::string& what, const std::string& option) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw Error(
        fmt::format("{} cannot be written to {}: {}", what, folder.string(), error.message()),
        option, "choose another folder with " + option);
  }
  const fs::path probe = folder / fmt::format(".probe-{}.tmp", getpid());
  WriteFileAtomically(probe, "probe\n", true);
  fs::remove(probe, error);
}

void KeepRecords(std::span<const Record> records, const fs::path& folder, bool quiet) {
  if (records.empty()) return;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    const fs::path other = NewFolder();
    WriteRecords(records, other);
    throw Error(fmt::format("it was removed while the run was at work and cannot be made again: {}",
                            error.message()),
                folder.string(), fmt::format("the records are in {}", other.string()));
  }
  for (const fs::path& path : WriteRecords(records, folder)) {
    if (!quiet) Say("record: {}\n", path.string());
  }
}

}  // namespace quantref
