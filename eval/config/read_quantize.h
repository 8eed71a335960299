#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/support/yaml_reader.h"

namespace quantref {

inline constexpr size_t kMostGroup = size_t{1} << 20;

// In the order of Granularity.
const std::vector<std::string>& GranularityNames();

// Throws Error where the entry's `label` could not be in the name of a record's file.
void CheckLabel(YamlReader& yaml, const std::string& label);

// The `quantize` section of a config: RunConfig's `general` and `cells`.
void ReadQuantize(YamlReader yaml, RunConfig& config);

}  // namespace quantref
