#pragma once

#include <string>
#include <vector>

namespace quantref {

// A table of plain text for a terminal: the first `left_columns` columns flush left, the others
// flush right. Widths count characters, not bytes.
std::string RenderTable(const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows, size_t left_columns);

// Fit for a terminal and for XML: control characters but line ends, and bytes that are no UTF-8, as
// '?'.
std::string Printable(std::string text);

std::string WithThousands(size_t number);  // "362,319"

}  // namespace quantref
