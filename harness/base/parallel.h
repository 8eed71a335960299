#pragma once

#include <cstddef>
#include <functional>

namespace quantref {

// Runs body(index, worker) once for each index in [0, count) on up to `threads` threads (0 < worker
// + 1 <= threads) and waits for all. Indices are handed out in increasing order as workers become
// free, so a body must write only to places owned by its index (or scratch owned by its worker):
// then results do not depend on the thread count. The first exception stops the handing out and is
// rethrown here; a request to cancel (cancel.h) is one. threads == 1 runs on the calling thread.
void ParallelFor(size_t count, size_t threads,
                 const std::function<void(size_t index, size_t worker)>& body);

}  // namespace quantref
