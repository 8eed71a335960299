#pragma once

#include <atomic>

namespace quantref {

namespace internal {
inline std::atomic<bool> cancel_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);
[[noreturn]] void ThrowCancelled();
}  // namespace internal

// Whether the work of this process is still wanted. Who no longer wants it says so here, from a
// signal handler too; whatever may take long asks between its steps, at the price of one load, and
// leaves by Interrupted. ParallelFor and teams ask before each index.
inline void SetCancelRequested(bool requested) noexcept {
  internal::cancel_requested.store(requested, std::memory_order_relaxed);
}
inline bool CancelRequested() noexcept {
  return internal::cancel_requested.load(std::memory_order_relaxed);
}
inline void ThrowIfCancelled() {
  if (CancelRequested()) [[unlikely]]
    internal::ThrowCancelled();
}

}  // namespace quantref
