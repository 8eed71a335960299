// The one table of fields, put together of its parts.
#include "eval/record/schema.h"
#include "eval/record/schema_rows.h"

namespace quantref {

const std::vector<RecordField>& RecordSchema() {
  static const std::vector<RecordField> schema = [] {
    std::vector<RecordField> all;
    for (const auto& part : {RunFields(), CandidateFields(), TextFields(), AccuracyFields(),
                             LedgerFields(), SpeedFields(), MachineFields()})
      all.insert(all.end(), part.begin(), part.end());
    return all;
  }();
  return schema;
}

}  // namespace quantref
