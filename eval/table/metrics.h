#pragma once

#include <optional>
#include <string>
#include <vector>

namespace quantref {

inline constexpr char kWindowNllPath[] = "accuracy.window_nll";
inline constexpr char kPrefillPath[] = "throughput.prefill_tokens_s";
inline constexpr char kDecodePath[] = "throughput.decode_tokens_s";

// What a cell of a table can show: the fields of records with a FieldMetric (eval/record/schema.h).
struct TableMetric {
  std::string name;    // in specs
  std::string header;  // of its columns, unless the spec has another
  // Dotted paths in a record, of a number and of a list of two. Of speeds: the list of timed
  // points, and the field of a point.
  std::string path, interval_path;
  // Of the samples that two cells' values are compared by: a list of windows' sums, or of speeds
  // the rates of a point. "": never marked.
  std::string samples;
  bool larger_is_better = false;
  size_t digits = 2;
  bool is_signed = false;  // "+" is printed
  double factor = 1;       // of the value as the record has it; 100 for percent
  double offset = 0;       // added before the factor: a ratio to a change
  bool is_speed = false;

  bool IsSpeed() const { return is_speed; }
  bool IsRatio() const { return IsSpeed() && interval_path == "vs_fp16"; }
  bool IsPrefill() const { return path == kPrefillPath; }
  // NLLs are compared with what rounding does to them.
  bool IsNll() const { return samples == kWindowNllPath; }
};

const std::vector<TableMetric>& TableMetrics();

// Nothing where there is none of this name.
const TableMetric* FindTableMetric(const std::string& name);

}  // namespace quantref
