#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "eval/table/cells.h"
#include "harness/testing/testing.h"

namespace quantref::testing {

// A made-up record of 16 windows that has what tables show: its NLL above FP16 by `nats` a token,
// give or take `noise` of alternating sign; its aggregates follow from its windows.
nlohmann::json TableSample(const std::string& method, double nats = 0, double noise = 0,
                           const std::string& config = "tiny");

// Gives it throughput: prefill of 64 tokens and decode of 8, on 2 threads, around this rate. Equal
// runs were timed together.
void AddSpeed(nlohmann::json& record, double rate, int run = 0);

// A folder of records and specs.
class TableLab {
 public:
  // Gives the record an id of its own, a later time than the last one's, and a file.
  std::string Add(nlohmann::json record);

  std::filesystem::path Spec(const std::string& yaml) const;  // as table.yaml

  // The table that a spec with these lines, besides title and records, gives. It lives until the
  // next call.
  const Table& Make(const std::string& yaml);

  const std::filesystem::path& path() const { return dir_.path(); }
  std::filesystem::path operator/(std::string_view name) const { return dir_ / name; }

 private:
  TempDir dir_;
  size_t added_ = 0;
  std::optional<TableSpec> spec_;
  std::optional<TableRecords> records_;
  std::optional<Table> table_;
};

}  // namespace quantref::testing
