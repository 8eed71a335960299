#pragma once

#include <string>
#include <string_view>

#include "harness/export/exported_cell.h"

namespace quantref {

// Reasons that several formats have for refusing a cell or a matrix, to be read after their names
// (ExportFormat::why_not); "": none.

std::string WhyNotWeightsAlone(const CellToExport& cell);  // rounded activations
std::string WhyNothing(const CellToExport& cell);          // no matrix is quantized

std::string WhyNotInteger(const PlannedLinear& linear);       // codes of another format than `int`
std::string WhyNotMultiplied(const PlannedLinear& linear);    // the embedding
std::string WhyNotRowsOrGroups(const PlannedLinear& linear);  // scales of columns; short groups
std::string WhyOrdered(const CellToExport& cell, const PlannedLinear& linear);

// "has no rotations (quarot.online: false bakes them into weights)"; without a remedy the reason
// alone.
std::string WithRemedy(std::string_view why, std::string_view remedy, std::string_view does);

// The first that is not "".
template <typename... Reasons>
std::string FirstOf(const Reasons&... reasons) {
  std::string first;
  ((first.empty() ? void(first = reasons) : void()), ...);
  return first;
}

}  // namespace quantref
