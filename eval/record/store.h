#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "eval/record/reader.h"

namespace quantref {

// A record as JSON text, with the name of its file: <config>-<method>-<time>-<id>.json; of an
// interrupted run <config>-<method>-<time>-<id>.partial.json.
struct Record {
  std::string file_name, json;
};

// Of fields that RecordSchema() has, each of its type, and all that are written; anything else is a
// bug. Adds the id.
Record FinishRecord(nlohmann::ordered_json fields);

// Writes them into the folder, each whole, never over another file. Returns their paths. Where one
// cannot be written none is left, so that the run can go on from its journal.
std::vector<std::filesystem::path> WriteRecords(std::span<const Record> records,
                                                const std::filesystem::path& folder);

// Of the folder's records of interrupted runs, removes those that are `replaced`. What cannot be
// read or removed stays.
void RemoveInterrupted(const std::filesystem::path& folder,
                       const std::function<bool(const StoredRecord& record)>& replaced);

// Makes the folder and checks that it can be written to, so that a run does not find out at its
// end. `option`: that names it; `what`: comes into it.
void PrepareFolder(const std::filesystem::path& folder, const std::string& what,
                   const std::string& option);
inline void PrepareRecordFolder(const std::filesystem::path& folder) {
  PrepareFolder(folder, "records", "--out");
}

// Writes the records of a run into the folder, which is made again where it was removed since the
// run began, and says where each is unless `quiet`. Where the folder cannot be had any more they go
// to a new one among the temporary files, and an Error tells which: hours of work are not thrown
// away.
void KeepRecords(std::span<const Record> records, const std::filesystem::path& folder, bool quiet);

}  // namespace quantref
