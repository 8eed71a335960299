#pragma once

#include <string>

#include "eval/config/run_config.h"
#include "eval/support/yaml_reader.h"

namespace quantref {

// "a+b": transform a, then rounder b; a transform alone is followed by rtn. "a+b+qat"
// and "a+b+lora" are trained from there on. Sets what the cell does; throws Error at `key` for
// unknown names and for orders that make no sense.
void ParseMethod(YamlReader& yaml, const std::string& key, const std::string& whole,
                 CellConfig& cell);

// Of a cell that is read whole; the error is at `methods`.
void CheckTransforms(YamlReader& yaml, const CellConfig& cell);

}  // namespace quantref
