#pragma once

#include <vector>

#include "eval/config/read_config.h"
#include "eval/inputs/options.h"
#include "eval/pass/shard_work.h"
#include "eval/team/workers.h"

namespace quantref {

// What RunEval does, of configs whose texts are read, in the part of the work that `shards` says;
// of several processes each calls it. Returns the exit code.
int RunConfigs(const RunOptions& options, const std::vector<ConfigText>& texts, ShardWork& shards,
               Workers& workers);

}  // namespace quantref
