#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "eval/record/reader.h"

namespace quantref::testing {

// A made-up record of 16 windows that has every field which comparison reads.
nlohmann::json SampleRecord(const std::string& config = "tiny", const std::string& method = "rtn");

// Adds an amount to the NLL of each window: `nats` a token, and `noise` of alternating sign.
void ShiftNll(nlohmann::json& record, double nats, double noise = 0);

// As read back from a file.
StoredRecord Stored(const nlohmann::json& record);

}  // namespace quantref::testing
