#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/record/reader_fields.h"
#include "eval/table/records.h"

namespace quantref {

// Records without a spec: the tables that run_eval prints of the records that it writes, and
// make_tables of the same records, one a run.

// A record, with what all tables read of it.
struct Result {
  std::shared_ptr<const JsonDocument> document;  // that `json` is in
  JsonValue json;
  TableRecord table;

  RecordFields Fields() const { return {json, table.stored.file.string()}; }
  const CellName& cell() const { return table.stored.cell; }
  std::string Label() const;  // "gptq", "gptq seed=5"
};

// The cells of one run that were measured on the same windows, or of one model of random weights;
// never empty.
using Results = std::vector<Result>;

// A record as JSON text, which a run is about to write to `file`. Error where it is none.
Result ParseResult(std::string_view json, const std::filesystem::path& file);

// Of these record files, baselines too: the oldest run first, its cells by config, then as their
// config has them. Error where a file is no record.
std::vector<Results> ReadResults(const std::vector<std::filesystem::path>& files, size_t threads);

// How much of a table there is room for, and who asked for what.
struct TableView {
  std::optional<size_t> width{};       // of the lines; nothing: any
  std::vector<std::string> columns{};  // by name; "all"; empty: as many as fit
};

// What `columns` may name. Error where they name something else.
const std::vector<std::string>& ResultColumnNames();
void CheckColumns(const std::vector<std::string>& columns);

// The table, with a line above that says what it was measured on, stamps where they are due, and
// below what the marks mean.
std::string ResultText(const Results& results, const TableView& view);

// The layer report of every quantized cell.
std::string LayersText(const Results& results, const TableView& view);

}  // namespace quantref
