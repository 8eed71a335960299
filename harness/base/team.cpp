#include "harness/base/team.h"

#include <utility>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/start_thread.h"

namespace quantref {
namespace {

// The bits of the state: how many helpers are inside the open region, the caller sleeping until
// they have left, the region being open, the end, and the region's number, which tells a helper
// whether it has seen the region before. A number that comes round again while a helper sleeps
// costs that helper one region, and nobody waits for it.
constexpr uint32_t kInside = 0xfff, kCallerSleeps = 0x1000, kOpen = 0x2000, kStop = 0x4000,
                   kOneRegion = 0x8000;

// Every index in order, on the calling thread.
void RunAlone(size_t count, TeamBody body) {
  for (size_t index = 0; index < count; ++index) {
    ThrowIfCancelled();
    body(index, 0);
  }
}

uint32_t Region(uint32_t state) { return state & ~(kOneRegion - 1); }

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// About 5 microseconds where a pause takes 40 ns: longer than the serial work between two regions
// of a token, shorter than waking a thread.
constexpr int kSpins = 128;

// The first state that satisfies `done`, or the last one seen.
template <typename Done>
uint32_t Spin(const std::atomic<uint32_t>& state, Done done) {
  uint32_t now = state.load(std::memory_order_acquire);
  for (int i = 0; i < kSpins && !done(now); ++i) {
    Pause();
    now = state.load(std::memory_order_acquire);
  }
  return now;
}

}  // namespace

Team::Team(size_t threads) {
  QR_CHECK(threads > 0);
  QR_CHECK_LE(threads, size_t{kInside});
  try {
    for (size_t worker = 1; worker < threads; ++worker)
      helpers_.push_back(StartThread([this, worker] { Help(worker); }));
  } catch (...) {  // those that did start would be joined without an end
    Stop();
    throw;
  }
}

Team::~Team() { Stop(); }

void Team::Stop() {
  state_.fetch_or(kStop);
  state_.notify_all();
}

void Team::Run(size_t count, TeamBody body) {
  if (threads() == 1 || count <= 1) return RunAlone(count, body);
  // No helper is inside, so nobody reads what is written here before the region opens.
  uint32_t state = state_.load();
  QR_CHECK((state & kOpen) == 0);
  body_ = &body;
  count_ = count;
  next_.store(0, std::memory_order_relaxed);
  state_.store(Region(state + kOneRegion) | kOpen);
  state_.notify_all();  // costs a system call only where somebody sleeps
  Work(0);
  CloseAndWait();
  if (first_error_) std::rethrow_exception(std::exchange(first_error_, nullptr));
}

void Team::Work(size_t worker) {
  const TeamBody& body = *body_;
  try {
    for (size_t index = next_++; index < count_; index = next_++) {
      ThrowIfCancelled();
      body(index, worker);
    }
  } catch (...) {
    next_ = count_;  // hand out no more
    const std::lock_guard lock(error_mutex_);
    if (!first_error_) first_error_ = std::current_exception();
  }
}

void Team::CloseAndWait() {
  const auto empty = [](uint32_t state) { return (state & kInside) == 0; };
  if (empty(state_.fetch_and(~kOpen))) return;
  if (empty(Spin(state_, empty))) return;
  for (uint32_t state = state_.fetch_or(kCallerSleeps) | kCallerSleeps; !empty(state);
       state = state_.load())
    state_.wait(state);
  state_.fetch_and(~kCallerSleeps);
}

bool Team::Enter(uint32_t& seen) {
  uint32_t state = state_.load();
  while ((state & kOpen) != 0 && Region(state) != Region(seen)) {
    if (!state_.compare_exchange_weak(state, state + 1)) continue;
    seen = state;
    return true;
  }
  return false;
}

void Team::Leave() {
  const uint32_t left = state_.fetch_sub(1) - 1;
  if ((left & kInside) == 0 && (left & kCallerSleeps) != 0) state_.notify_all();
}

void Team::Help(size_t worker) {
  uint32_t seen = 0;
  while (true) {
    const auto called = [&](uint32_t state) {
      return (state & kStop) != 0 || ((state & kOpen) != 0 && Region(state) != Region(seen));
    };
    uint32_t state = Spin(state_, called);
    while (!called(state)) {
      state_.wait(state);
      state = state_.load();
    }
    if ((state & kStop) != 0) return;
    if (!Enter(seen)) continue;
    Work(worker);
    Leave();
  }
}

void RunOn(Team* team, size_t count, TeamBody body) {
  team == nullptr ? RunAlone(count, body) : team->Run(count, body);
}

}  // namespace quantref
