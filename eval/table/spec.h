#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eval/support/figure_text.h"
#include "eval/table/metrics.h"

namespace quantref {

// What a table is made of, as data: results/tables/README.md has every key.

enum class TableFormat { kLatex, kMarkdown, kCsv, kHtml, kText };

// Keeps the records whose field matches one of the globs, and none of those that begin with "!". Of
// methods, "fp16" and "reference" match the reference whatever its type.
struct FieldFilter {
  std::string field;
  std::vector<std::string> globs;

  bool Passes(const std::string& value) const;
};

// Groups records by a field's value. Values that `order` names come first; the others follow,
// numbers in them by size.
struct TableField {
  std::string field, name;
  std::vector<std::string> order{};
  std::map<std::string, std::string> labels{};  // what a value is printed as

  const std::string& Label(const std::string& value) const;
  // The place of a value: as `order` has it; else the reference, which has no scheme, stands before
  // all that is measured by it, and anything else behind.
  size_t Rank(const std::string& value) const;
};

struct TableValue {
  const TableMetric* metric;
  std::string header;
  std::optional<size_t> digits{};  // nothing: two of the half width, else the metric's
  UncertaintyStyle uncertainty = UncertaintyStyle::kPlusMinus;
  bool marks = true;                          // the best is marked
  std::optional<size_t> tokens{}, threads{};  // of a speed: which of the timed points
};

// How a table stands in a paper.
struct LatexStyle {
  std::string environment = "table";  // or "table*"; "": the tabular alone
  bool note_in_comments = false;      // what else a caption would say; else below the table
};

// What the records say yes or no to, case by case: whether some cells are better than others, or
// whether a figure lies between two bounds.
struct TableQuestion {
  std::string ask;
  std::vector<FieldFilter> cells;  // which cells are asked about
  // Those that they are compared with, each with the cell that has equal values of the fields of
  // `each`; empty where there are bounds.
  std::vector<FieldFilter> than{};
  std::vector<std::string> each{};
  const TableMetric* metric = nullptr;
  std::optional<double> from{}, to{};  // as the table shows the metric
  std::string yes{}, no{};             // what that means, said where all cases agree
};

struct TableSpec {
  std::string file;
  std::string title, label, note;
  std::vector<std::string> records;  // paths or globs, relative to the spec's folder
  std::vector<FieldFilter> where;
  std::string analysis;  // of analysis.h, which has its own rows and columns; "": a table of cells
  std::vector<TableField> rows, columns;
  std::vector<TableValue> cells;
  bool compare_rows = false;         // the cells of a row are compared, not those of a column
  std::vector<std::string> within;   // fields: only cells with equal values are compared
  std::vector<FieldFilter> compete;  // which cells can be best
  std::vector<TableQuestion> questions;
  LatexStyle latex;
  bool stamp_runs = false;  // a column of speeds of several runs is stamped, else refused
  std::map<TableFormat, std::filesystem::path> outputs;  // absolute, or below the spec's folder

  std::filesystem::path Folder() const { return std::filesystem::path(file).parent_path(); }
  // Every field that the spec names, and those that captions need.
  std::vector<std::string> Fields() const;
  // What a value of a field is printed as: as its row or column has it, else as it is.
  const std::string& LabelOf(const std::string& field, const std::string& value) const;
};

// Error with file, line, key, what was expected and the nearest valid name.
TableSpec ReadTableSpec(const std::string& file);

const std::vector<std::string>& TableFormatNames();  // in the order of the enumeration

}  // namespace quantref
