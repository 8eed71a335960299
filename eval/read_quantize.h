#pragma once

#include "eval/run_config.h"
#include "eval/yaml_reader.h"

namespace quantref {

// The `quantize` section of a config: RunConfig's `general` and `cells`.
void ReadQuantize(YamlReader yaml, RunConfig& config);

}  // namespace quantref
