#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "eval/table/records.h"

namespace quantref {

// The parts of a report's page that show records themselves.

struct PageRecord {
  TableRecord table;
  bool newest = true;  // of its cell
  // Every value by its dotted path, but those of config.resolved; of long lists their length.
  std::vector<std::pair<std::string, std::string>> values{};
  std::string resolved{};  // config.resolved, as JSON for reading
};

// By cell, the newest of each first. `fields`: what tables need of them.
std::vector<PageRecord> ReadPageRecords(const std::vector<std::filesystem::path>& files,
                                        std::vector<std::string> fields, size_t threads);

// What stamps say, and what the records are.
std::string SummaryHtml(const std::vector<PageRecord>& records);

// A row a record, with all that it says of where its figures come from.
std::string RecordsHtml(const std::vector<PageRecord>& records);

}  // namespace quantref
