#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "eval/table/results.h"
#include "eval/table/table.h"

namespace quantref {

// The figures of a run's records as a table of cells, as if a spec had asked for them.

// A metric in the tables of records without a spec; in their order.
struct ResultMetric {
  const char* name;    // of its column, for --columns
  const char* metric;  // of TableMetrics
  const char* header;
  // Where lines are short: which go first (TextColumn), and the header of a shorter form without
  // intervals, where there is one.
  int worth;
  const char* brief_header = nullptr;
  UncertaintyStyle uncertainty = UncertaintyStyle::kPlusMinus;
  bool marks = false;  // the best is marked
};
const std::vector<ResultMetric>& ResultMetrics();
const ResultMetric& ResultMetricOf(const TableColumn& column);  // that it was made for

// A row a result, in their order; a column for each of the ResultMetrics that one of them has.
class ResultCells {
 public:
  explicit ResultCells(const Results& results);  // which must outlive it
  ResultCells(const ResultCells&) = delete;      // the table points into the spec
  ResultCells& operator=(const ResultCells&) = delete;

  const Table& table() const { return table_; }

 private:
  TableSpec spec_;
  Table table_;
};

// The same in one of the formats of specs, with what tells rows apart, and how fast they are beside
// FP16 on the fewest threads.
std::string ResultsAs(const Results& results, TableFormat format);

}  // namespace quantref
