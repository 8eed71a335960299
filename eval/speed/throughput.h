#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string_view>

#include "eval/speed/timing.h"

namespace quantref {

// How fast the cells of a run are, on the kernels that their accuracy was measured through.
// Everything is verified before it is timed, timed in repetitions that are interleaved in random
// order between all contestants, and recorded sample by sample.

// `progress` may throw to stop; it is called before each sample. A kernel whose result is not the
// reference's is a bug (QR_CHECK). Nothing is measured where spec.measure is false.
Throughput MeasureThroughput(
    std::span<const ThroughputModel> models, const ThroughputSpec& spec,
    const std::function<void(size_t done, size_t total, std::string_view what)>& progress);

}  // namespace quantref
