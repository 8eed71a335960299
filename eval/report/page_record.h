#pragma once

#include <string>
#include <utility>
#include <vector>

#include "eval/table/records.h"

namespace quantref {

// A record as a report's page shows it.
struct PageRecord {
  TableRecord table;
  bool newest = true;  // of its cell
  // Every value by its dotted path, but those of config.resolved; of long lists their length.
  std::vector<std::pair<std::string, std::string>> values{};
  std::vector<std::string> notes{};  // CandidateNotes
  std::string resolved{};            // config.resolved, as JSON for reading
};

}  // namespace quantref
