#include <cmath>

#include "eval/record/reader.h"
#include "eval/table/records.h"
#include "harness/base/check.h"
#include "harness/io/json_reader.h"
#include "harness/testing/fuzz.h"

namespace quantref {
namespace {

// As compare_results reads a record or a baseline, and then as make_tables reads a record.
void FuzzRecord(std::string_view input) {
  const testing::InputFile file(input);
  const RecordSet set = ReadRecords(file.path(), 1);
  QR_CHECK(!set.records.empty());
  for (const StoredRecord& record : set.records) {
    QR_CHECK_EQ(record.window_scored.size(), record.window_nll.size());
    if (record.HasAccuracy()) QR_CHECK(std::isfinite(record.MeanNll()));
  }
  ReadTableRecord(JsonDocument::Read(file.path()).root(), file.path(),
                  {"model", "method", "scheme", "config"});
}

const testing::AddFuzzTarget record_target({"eval/table", "record", FuzzRecord});

}  // namespace
}  // namespace quantref
