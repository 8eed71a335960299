#pragma once

#include <functional>
#include <string>
#include <vector>

#include "eval/report/page_record.h"
#include "eval/support/html_table.h"

namespace quantref {

// Something that a report says of each record. One entry is all that it needs.
struct RecordColumn {
  std::string name;
  std::vector<std::string> fields;  // of the record, that `cell` reads
  std::function<HtmlCell(const PageRecord&)> cell;
};

// Of the row that every record has. Numbers come after texts.
const std::vector<RecordColumn>& TextColumns();
const std::vector<RecordColumn>& NumberColumns();

// Of the summary, which has the distinct texts of all records.
const std::vector<RecordColumn>& SummaryFacts();

// Every field that these read.
std::vector<std::string> PageFields();

}  // namespace quantref
