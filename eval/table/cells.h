#pragma once

#include <cstddef>
#include <vector>

#include "eval/table/table.h"

namespace quantref {

// Records set out in rows and columns, ready to be written in any format.

// The records must outlive the table. Error where no record is left, where two records claim one
// cell, and where cells that are compared differ in protocol, text or tokens, or speeds in machine,
// tokens or threads.
Table MakeTable(const TableSpec& spec, const TableRecords& records, size_t threads);

// The same of records that were made together: a row each, in this order, whatever tells them
// apart. Of specs without columns' fields, `where` and questions.
Table MakeTableOfEach(const TableSpec& spec, const std::vector<const TableRecord*>& records,
                      size_t threads);

}  // namespace quantref
