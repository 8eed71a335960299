#pragma once

#include <functional>
#include <string>
#include <vector>

#include "eval/table/records.h"
#include "eval/table/spec.h"

namespace quantref {

// Are the tables that stand beside a spec still what the records give?

// "" where equal; else the first lines that differ, as "-old" and "+new" with their numbers, and
// how many more there are.
std::string ShortDiff(const std::string& old_text, const std::string& new_text);

// The record ids that a table's text names: 16 hexadecimal digits that stand alone.
std::vector<std::string> NamedRecords(const std::string& text);

// What is wrong with the spec's outputs, "" where nothing is. Error where an output names a record
// that was not read: without it nothing can be checked. text_as: what the records give.
std::string CheckOutputs(const TableSpec& spec, const TableRecords& records,
                         const std::vector<TableFormat>& formats,
                         const std::function<std::string(TableFormat)>& text_as);

}  // namespace quantref
