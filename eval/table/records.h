#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eval/record/reader.h"
#include "eval/table/spec.h"

namespace quantref {

// Records as tables need them: what comparison reads (record_reader.h), the fields that the spec
// names, and its metrics with their samples. As strictly read: a record that is malformed, or whose
// perplexity does not follow from its windows, gives an Error.

// Whole models at one number of tokens and threads; in tokens a second.
struct SpeedPoint {
  size_t tokens = 0, threads = 0;
  double median = 0, low = 0, high = 0;
  std::optional<double> vs_fp16{};
  std::vector<double> samples{}, fp16_samples{};  // the latter of what vs_fp16 is to; may be absent
};

struct TableRecord {
  StoredRecord stored;  // of synthetic weights: the names alone
  bool synthetic = false;
  // "none" where the record has no such field; of a scheme that differs among matrices "mixed".
  std::map<std::string, std::string> fields;
  // By the metric's name, with 95 % intervals; speeds are not here.
  std::map<std::string, Figure> numbers;
  // The sums that metrics are compared by, by their path; empty where the record has none. NLLs are
  // in `stored`.
  std::map<std::string, std::vector<double>> windows;
  std::vector<SpeedPoint> prefill, decode;
  std::string timing;  // equal for cells that were timed together; "" where nothing was timed
  bool busy = false;
  // For the caption: "wikitext-2 test", its hash; tokens; "wikitext-2 validation, 128 × 2048
  // tokens, seed 0", "" where the method read none.
  std::string text, text_sha256, calibration;
  double scored = 0;

  const std::string& Field(const std::string& field) const { return fields.at(field); }
};

// With the values of these fields. `file` is for messages.
TableRecord ReadTableRecord(JsonValue json, const std::filesystem::path& file,
                            const std::vector<std::string>& fields);

// The newest record of each cell, where the spec's `where` wants it.
struct TableRecords {
  std::vector<TableRecord> records;
  std::vector<std::string> ids, runs;  // of all that were read, sorted
};
TableRecords SelectRecords(const TableSpec& spec, std::vector<TableRecord> all);

// Of the files that the spec names.
TableRecords ReadTableRecords(const TableSpec& spec, size_t threads);

}  // namespace quantref
