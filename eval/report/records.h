#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "eval/report/page_record.h"

namespace quantref {

// The parts of a report's page that show records themselves.

// By cell, the newest of each first. `fields`: what tables need of them.
std::vector<PageRecord> ReadPageRecords(const std::vector<std::filesystem::path>& files,
                                        std::vector<std::string> fields, size_t threads);

// What stamps say, and what the records are.
std::string SummaryHtml(const std::vector<PageRecord>& records);

// A row a record, with all that it says of where its figures come from.
std::string RecordsHtml(const std::vector<PageRecord>& records);

}  // namespace quantref
