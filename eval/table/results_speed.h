#pragma once

#include <string>
#include <vector>

#include "eval/table/results.h"

namespace quantref {

// Speed in the text of results: columns of the table, lines around it.

// Which timing the columns show, the first on the fewest threads that has a ratio to FP16; nullptr
// where there is none.
const SpeedPoint* PointOfText(const Results& results, bool prefill);

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
