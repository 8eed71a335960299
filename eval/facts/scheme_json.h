#pragma once

#include <nlohmann/json_fwd.hpp>

#include "harness/quant/scheme.h"

namespace quantref {

using RecordJson = nlohmann::ordered_json;

// How weights are rounded, as records say it.
RecordJson SchemeJson(const WeightScheme& scheme);

// What two have in common. That they differ a word says where there is one for it; a format that is
// absent is `int`.
RecordJson CommonScheme(const RecordJson& a, const RecordJson& b);

}  // namespace quantref
