#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "eval/config/run_config.h"

namespace quantref {

// What RunConfig::Resolved writes, before it is text.
nlohmann::ordered_json ResolvedJson(const RunConfig& config);

// The list as a config would have it.
nlohmann::ordered_json OverridesJson(const std::vector<SchemeOverride>& overrides);

}  // namespace quantref
