#pragma once

#include <optional>
#include <string>

#include "eval/table/results.h"

namespace quantref {

// What is said of candidates, checkpoints that other tools made, beside the table of results.

// Below the table: how each is stored, and what was noticed of it. "" where there are none.
std::string CandidateLines(const Results& results);

// Its matrices with what they are stored in, of the layer report; "" of another cell.
std::string CandidateMatricesText(const Result& result, std::optional<size_t> width);

}  // namespace quantref
