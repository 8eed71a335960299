#pragma once

#include "eval/record/reader_fields.h"

namespace quantref {

// Whether a record is what RecordSchema() says. Errors name the record, the path, what was expected
// and what was found.

// Of a record from anywhere: the types of all fields that the schema has, and the presence of those
// that are required. Fields that it does not have are passed over: newer programs may write them.
void CheckRecord(const RecordFields& record);

// Of a record that this program made: the presence of all that is written, and that there is
// nothing else.
void CheckWritten(const RecordFields& record);

}  // namespace quantref
