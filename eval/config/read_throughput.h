#pragma once

#include "eval/speed/throughput.h"
#include "eval/support/yaml_reader.h"

namespace quantref {

// The `throughput` key of a config: a map, or whether to measure at all.
ThroughputSpec ReadThroughput(YamlReader& yaml);

}  // namespace quantref
