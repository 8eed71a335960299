#pragma once

#include <string>

#include "eval/config/run_config.h"
#include "eval/support/yaml_reader.h"

namespace quantref {

// Throws Error where the entry's `label` could not be in the name of a record's file.
void CheckLabel(YamlReader& yaml, const std::string& label);

// The `quantize` section of a config: RunConfig's `general` and `cells`.
void ReadQuantize(YamlReader yaml, RunConfig& config);

}  // namespace quantref
