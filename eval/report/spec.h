#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace quantref {

// What a report is made of, as data: results/report.md has every key. Paths are as they stand in
// the file, from its folder.
struct ReportSpec {
  std::string file;
  std::string title, note;
  std::vector<std::string> records;  // files, folders or globs
  std::vector<std::string> tables;   // specs of tables, which are made of `records`
  std::string baseline;              // what `records` are compared with; "": nothing
  std::string output;                // "": standard output

  std::filesystem::path Folder() const { return std::filesystem::path(file).parent_path(); }
};

// Error with file, line, key, what was expected and the nearest valid name.
ReportSpec ReadReportSpec(const std::string& file);

}  // namespace quantref
