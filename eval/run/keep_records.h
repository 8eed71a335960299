#pragma once

#include <filesystem>
#include <span>

#include "eval/run/record.h"

namespace quantref {

// Writes the records of a run into the folder, which is made again where it was removed since the
// run began, and says where each is unless `quiet`. Where the folder cannot be had any more they go
// to a new one among the temporary files, and an Error tells which: hours of work are not thrown
// away.
void KeepRecords(std::span<const Record> records, const std::filesystem::path& folder, bool quiet);

}  // namespace quantref
