#pragma once

#include <nlohmann/json_fwd.hpp>

#include "harness/quant/scheme.h"

namespace quantref {

using RecordJson = nlohmann::ordered_json;

// How weights are rounded, as records say it.
RecordJson SchemeJson(const WeightScheme& scheme);

}  // namespace quantref
