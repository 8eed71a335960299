#include "eval/table/spec.h"
#include "harness/base/check.h"
#include "harness/testing/fuzz.h"

namespace quantref {
namespace {

void FuzzTableSpec(std::string_view input) {
  const testing::InputFile file(input);
  const TableSpec spec = ReadTableSpec(file.path());
  QR_CHECK(!spec.rows.empty() && !spec.cells.empty() && !spec.records.empty());
  for (const FieldFilter& filter : spec.where) filter.Passes("rtn");
  for (const TableField& field : spec.rows) field.Label("4");
  QR_CHECK(!spec.Fields().empty());
}

const testing::AddFuzzTarget table_spec_target({"eval/table", "table_spec", FuzzTableSpec});

}  // namespace
}  // namespace quantref
