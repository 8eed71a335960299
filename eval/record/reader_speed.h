#pragma once

#include <optional>

#include "eval/record/reader_fields.h"
#include "eval/record/stored_speed.h"

namespace quantref {

// `throughput` of a record, strictly: what comparison needs of it. Nothing where the record has
// none.
std::optional<StoredSpeed> ReadSpeed(const RecordFields& record);

}  // namespace quantref
