#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "eval/report/spec.h"

namespace quantref {

// A report: one page that needs no other file and no network. Same records, spec and plots, same
// bytes: nothing here knows the time or the place.

// Of the spec's records. Error where there are none, or a file cannot be read.
std::vector<std::filesystem::path> ReportRecords(const ReportSpec& spec);

// plots: a folder whose *.svg become figures; "": no plots. Error where a record, a table's spec,
// the baseline or a plot is not what it should be.
std::string ReportPage(const ReportSpec& spec, const std::filesystem::path& plots, size_t threads);

}  // namespace quantref
