#include <mutex>

#include "eval/team/workers.h"
#include "harness/base/parallel.h"

namespace quantref {

void OneProcess::Deal(std::span<const size_t> units, size_t threads, const Work& work,
                      const Take& take) {
  std::mutex mutex;
  ParallelFor(units.size(), threads, [&](size_t i, size_t worker) {
    const std::string result = work(units[i], worker);
    const std::lock_guard lock(mutex);
    take(units[i], 0, result);
  });
}

}  // namespace quantref
