#pragma once

#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/run/report.h"

namespace quantref {

// Records as the results that run_eval showed when it wrote them: the cells of one run that were
// measured on the same windows. Cells point into the object.
struct StoredResults {
  MeasuredOn on;
  std::vector<CellResult> cells;
  std::vector<std::string> notices;  // calibration, and the records' stamps

  std::deque<RunConfig> configs;
  std::deque<CellConfig> specs;
};

// Of these record files, baselines too: the oldest run first. The layer reports stay behind. Error
// where a file is no record.
std::deque<StoredResults> ReadStoredResults(const std::vector<std::filesystem::path>& files,
                                            size_t threads);

// The tables that run_eval printed, one behind the other.
std::string StoredResultsText(const std::deque<StoredResults>& results, const TableView& view);

}  // namespace quantref
