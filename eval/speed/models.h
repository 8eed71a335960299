#pragma once

#include <memory>
#include <span>

#include "eval/speed/interleave.h"
#include "eval/speed/timing.h"
#include "harness/base/rng.h"
#include "harness/base/team.h"

namespace quantref {

// The part of MeasureThroughput that times whole models: prefill and decode of all of them,
// interleaved, for each team (null: one thread). Adds to the cells, which are as the models.
size_t CachedTokens(const ThroughputSpec& spec, size_t context);  // of each model, meanwhile
size_t ModelSteps(std::span<const ThroughputModel> models, const ThroughputSpec& spec);
void MeasureModels(std::span<const ThroughputModel> models, const ThroughputSpec& spec,
                   std::span<const std::unique_ptr<Team>> teams, Rng& rng, Steps& steps,
                   std::span<CellThroughput> cells);

}  // namespace quantref
