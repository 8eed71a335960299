#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace quantref {

// A table of a report, before it has a format.

struct ReportCell {
  std::string text;
  std::optional<double> value{};  // of a figure, for sorting
};

struct ReportTable {
  std::vector<std::string> header;
  std::vector<std::vector<ReportCell>> rows;
  size_t left = 0;  // columns that are flush left
};
// Without figures.
ReportTable TableOfTexts(std::vector<std::string> header,
                         const std::vector<std::vector<std::string>>& rows);

}  // namespace quantref
