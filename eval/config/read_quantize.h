#pragma once

#include "eval/config/run_config.h"
#include "eval/support/yaml_reader.h"

namespace quantref {

// The `quantize` section of a config: RunConfig's `general` and `cells`.
void ReadQuantize(YamlReader yaml, RunConfig& config);

}  // namespace quantref
