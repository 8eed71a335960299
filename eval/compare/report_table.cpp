#include "eval/compare/report_table.h"

#include <utility>

namespace quantref {

ReportTable TableOfTexts(std::vector<std::string> header,
                         const std::vector<std::vector<std::string>>& rows) {
  ReportTable table{std::move(header), {}};
  table.left = table.header.size();
  for (const std::vector<std::string>& row : rows) {
    std::vector<ReportCell>& cells = table.rows.emplace_back();
    for (const std::string& text : row) cells.push_back({text});
  }
  return table;
}

}  // namespace quantref
