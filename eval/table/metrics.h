#pragma once

#include <optional>
#include <string>
#include <vector>

namespace quantref {

// What a cell of a table can show. One entry of TableMetrics() is all that a metric needs.

// Where two cells' values are compared from, so that a best one is marked only where it is one.
enum class Evidence {
  kNone,     // a count, or a sum over another unit than windows: never marked
  kNll,      // paired: the windows' NLL sums
  kKl,       // paired: the windows' KL sums
  kTop1,     // paired: the windows' positions with the same most likely token
  kPrefill,  // two samples of rates
  kDecode,
};

struct TableMetric {
  std::string name;    // in specs
  std::string header;  // of its columns, unless the spec has another
  // Dotted paths in a record, of a number and of a list of two. Of speeds: the list of timed
  // points, and the field of a point.
  std::string path, interval_path;
  Evidence evidence = Evidence::kNone;
  bool larger_is_better = false;
  size_t digits = 2;
  bool is_signed = false;  // "+" is printed
  double factor = 1;       // of the value as the record has it; 100 for percent
  double offset = 0;       // added before the factor: a ratio to a change
  bool IsSpeed() const { return evidence == Evidence::kPrefill || evidence == Evidence::kDecode; }
  bool IsRatio() const { return IsSpeed() && interval_path == "vs_fp16"; }
};

const std::vector<TableMetric>& TableMetrics();

// Nothing where there is none of this name.
const TableMetric* FindTableMetric(const std::string& name);

}  // namespace quantref
