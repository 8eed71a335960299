#include "harness/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/start_thread.h"

namespace quantref {

void ParallelFor(size_t count, size_t threads, const std::function<void(size_t, size_t)>& body) {
  QR_CHECK(threads > 0);
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto work = [&](size_t worker) {
    try {
      for (size_t index = next++; index < count; index = next++) {
        ThrowIfCancelled();
        body(index, worker);
      }
    } catch (...) {
      next = count;  // hand out no more
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::current_exception();
    }
  };
  std::vector<std::jthread> helpers;
  try {
    for (size_t worker = 1; worker < std::min(threads, count); ++worker)
      helpers.push_back(StartThread([&work, worker] { work(worker); }));
  } catch (...) {
    next = count;  // those that did start need not do the work of all
    throw;
  }
  work(0);
  helpers.clear();  // joins
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace quantref
