#include "eval/compare/baseline.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <system_error>
#include <utility>

#include "eval/record/reader.h"
#include "eval/support/text_table.h"
#include "harness/base/error.h"
#include "harness/io/file.h"
#include "harness/io/json_file.h"
#include "harness/io/json_reader.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

// The newest of each cell, over all paths.
std::map<CellName, StoredRecord> NewestCells(std::span<const std::string> paths, size_t threads) {
  std::map<CellName, StoredRecord> newest;
  for (const std::string& path : paths) {
    RecordSet set = ReadRecords(path, threads);
    std::error_code error;
    if (set.is_set && !fs::is_directory(path, error)) {
      throw Error("expected records or folders of them, found a baseline", path,
                  "a baseline is made from the records of a run");
    }
    for (StoredRecord& record : set.records) {
      const auto [at, is_new] = newest.try_emplace(record.cell, record);
      if (!is_new && IsNewer(record, at->second)) at->second = std::move(record);
    }
  }
  for (const auto& [name, record] : newest) {
    if (!record.Interrupted()) continue;
    throw Error("expected a complete record, found one of an interrupted run", record.file.string(),
                "complete it with run_eval --resume, or remove it");
  }
  return newest;
}

// How many cells the baseline has that the file is already; 0 where there is no file.
size_t Replaced(const fs::path& file) {
  std::error_code error;
  if (!IsPresent(file)) return 0;
  const RecordSet old = ReadRecords(file, 1);
  if (!old.is_set || fs::is_directory(file, error))
    throw Error("expected a new file or a baseline, found something else", file.string(),
                "baselines replace baselines only");
  return old.records.size();
}

// As it is in its file, which must still hold what was read.
std::string TextOf(const StoredRecord& record) {
  std::string text = ReadFile(record.file, kMaxJsonFileBytes);
  if (ReadRecord(JsonDocument::Parse(text, record.file.string()).root(), record.file).id !=
      record.id)
    throw Error("it was changed while it was read", record.file.string(), "run again");
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return text;
}

}  // namespace

std::string WriteBaseline(const fs::path& file, std::span<const std::string> records,
                          size_t threads) {
  const std::map<CellName, StoredRecord> newest = NewestCells(records, threads);
  const size_t replaced = Replaced(file);
  std::string text;
  for (const auto& [name, record] : newest) text += (text.empty() ? "[\n" : ",\n") + TextOf(record);
  text += "\n]\n";
  if (text.size() > kMaxJsonFileBytes) {
    throw Error(fmt::format("expected at most {} bytes of records, found {}", kMaxJsonFileBytes,
                            text.size()),
                file.string(), "compare folders instead, or keep fewer cells");
  }
  if (file.has_parent_path()) fs::create_directories(file.parent_path());
  WriteFileAtomically(file, text, true);
  return fmt::format("{}: baseline of {}{}", file.string(), Plural(newest.size(), "cell"),
                     replaced == 0 ? "" : fmt::format(", in place of one of {}", replaced));
}

}  // namespace quantref
