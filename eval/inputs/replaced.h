#pragma once

#include "eval/record/reader.h"

namespace quantref {

// Whether a record says all that one of an interrupted run says, which need not stay then: it is of
// the same cell, config and ledger, and has each of its windows to the bit. Which other cells the
// two runs had changes nothing.
bool Replaces(const StoredRecord& record, const StoredRecord& interrupted);

}  // namespace quantref
