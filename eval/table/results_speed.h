#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "eval/table/results.h"

namespace quantref {

// Speed in the text of results: columns of the table, lines around it.

// Whose speeds the table shows: the fewest threads that something was timed on.
std::optional<size_t> ThreadsOfSpeeds(const Results& results);

// The columns, with what stands in each row. Empty where nothing was timed.
struct SpeedColumns {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;  // one a result
};
SpeedColumns MakeSpeedColumns(const Results& results);

// Above the table: what the figures were measured on. Empty where nothing was timed.
std::string SpeedHeadline(const Results& results);

// Below it: other thread counts, what the columns mean, and what their marks do.
std::string SpeedLegend(const Results& results);

}  // namespace quantref
