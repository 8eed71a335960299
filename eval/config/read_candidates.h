#pragma once

#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/support/yaml_reader.h"

namespace quantref {

// Makes of `candidates: {LABEL: PATH, ...}` the list of {label, path} that it is short for, and
// adds the command line's LABEL=PATH to it. Throws Error for one of these that is none.
void ListCandidates(YAML::Node& root, const std::vector<std::string>& more);

// Adds that list to the cells, behind the methods. Throws Error for a label that another cell has.
void ReadCandidates(YamlReader& yaml, RunConfig& config);

}  // namespace quantref
