#pragma once

#include "eval/record/reader.h"
#include "eval/record/reader_fields.h"

namespace quantref {

// `throughput` of a record, strictly: what comparison needs of it. Nothing where the record has
// none.
std::optional<StoredSpeed> ReadSpeed(const RecordFields& record);

}  // namespace quantref
