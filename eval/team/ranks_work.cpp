// What ranks do together: units dealt out, and bytes for all.

#include <algorithm>
#include <bit>
#include <utility>

#include "eval/team/message_kinds.h"
#include "eval/team/ranks.h"
#include "harness/base/cancel.h"
#include "harness/base/parallel.h"
#include "harness/base/start_thread.h"

namespace quantref {
namespace {

constexpr size_t kAsks = 2;  // of a thread at a time: for the unit that it does, and for the next

}  // namespace

// Along a binomial tree: from each rank to those that differ from it in one bit below its lowest.
std::string Ranks::Broadcast(std::string bytes) {
  const size_t reach = rank_ == 0 ? std::bit_ceil(size_) : rank_ & (~rank_ + 1);
  if (rank_ != 0) bytes = NextFrom(rank_ - reach);
  for (size_t step = reach / 2; step > 0; step /= 2) {
    if (rank_ + step < size_) Send(rank_ + step, BeginMessage(MessageKind::kBytes), bytes);
  }
  return bytes;
}

std::vector<std::string> Ranks::Collect(std::string bytes) {
  if (rank_ != 0) {
    Send(0, BeginMessage(MessageKind::kBytes), bytes);
    return {};
  }
  std::vector<std::string> all = {std::move(bytes)};
  for (size_t other = 1; other < size_; ++other) all.push_back(NextFrom(other));
  return all;
}

void Ranks::SendTo(size_t rank, std::string bytes) {
  QR_CHECK(rank < size_ && rank != rank_);
  Send(rank, BeginMessage(MessageKind::kBytes), bytes);
}

std::string Ranks::ReceiveFrom(size_t rank) {
  const auto await = [&](bool more) {
    const std::lock_guard lock(mutex_);
    more ? ++awaited_ : --awaited_;
  };
  await(true);
  try {
    std::string bytes = NextFrom(rank);
    await(false);
    return bytes;
  } catch (...) {
    await(false);
    throw;
  }
}

void Ranks::Deal(std::span<const size_t> units, size_t threads, const Work& work,
                 const Take& take) {
  const auto mark = [&](bool dealing) {
    const std::lock_guard lock(mutex_);
    dealing_ = dealing;
  };
  mark(true);
  if (rank_ == 0) {
    DealOut(units, threads, work, take);
    return mark(false);
  }
  ParallelFor(threads, threads, [&](size_t, size_t worker) { WorkForFirst(work, worker); });
  mark(false);
  const std::lock_guard lock(mutex_);
  given_.clear();
  ++round_;
}

// Rank 0 hears of an error at once: this rank's other threads may wait for units as long as it
// hands them out.
void Ranks::WorkForFirst(const Work& work, size_t worker) try {
  std::unique_lock lock(mutex_);
  const auto ended = [&] { return rounds_ended_ > round_; };
  std::deque<size_t>& given = given_[worker];
  for (size_t i = 0; i < kAsks; ++i) SendLocked(0, BeginMessage(MessageKind::kAsk, round_, worker));
  while (!ended()) {
    Wait(lock, [&] { return ended() || !given.empty(); });
    if (ended()) return;
    const size_t unit = given.front();
    given.pop_front();
    const std::string head = BeginMessage(MessageKind::kDone, round_, worker, unit);
    lock.unlock();
    Send(0, head, work(unit, worker));
    lock.lock();
  }
} catch (const TeamError&) {
  throw;
} catch (const Interrupted&) {
  throw;
} catch (const std::exception& error) {
  Fail(error.what());
  throw;
}

void Ranks::DealOut(std::span<const size_t> units, size_t threads, const Work& work,
                    const Take& take) {
  std::exception_ptr error;
  const auto fail = [&] {
    const std::lock_guard lock(mutex_);
    units_.clear();  // hand out no more
    if (!error) error = std::current_exception();
  };
  {
    const std::lock_guard lock(mutex_);
    units_.assign(units.begin(), units.end());
    own_threads_ = threads;
    GiveLocked();
  }
  std::vector<std::jthread> helpers;
  try {
    for (size_t worker = 0; worker < std::min(threads, units.size()); ++worker) {
      helpers.push_back(StartThread([&, worker] {
        try {
          WorkOwn(work, worker);
        } catch (...) {
          fail();
        }
      }));
    }
    std::unique_lock lock(mutex_);
    for (size_t taken = 0; taken < units.size() && !error;) {
      Wait(lock, [&] { return !results_.empty() || error; });
      taken += TakeResults(lock, take);
    }
  } catch (...) {
    fail();
  }
  helpers.clear();  // joins
  if (!error) return;
  TakeLeft(take);
  std::rethrow_exception(error);
}

void Ranks::WorkOwn(const Work& work, size_t worker) {
  std::unique_lock lock(mutex_);
  while (!units_.empty()) {
    CheckLocked();
    const size_t unit = units_.front();
    units_.pop_front();
    lock.unlock();
    std::string result = work(unit, worker);
    lock.lock();
    results_.push_back({unit, 0, std::move(result)});
    changed_.notify_all();
  }
}

// Returns how many there were.
size_t Ranks::TakeResults(std::unique_lock<std::mutex>& lock, const Take& take) {
  size_t taken = 0;
  while (!results_.empty()) {
    const Result result = std::move(results_.front());
    results_.pop_front();
    lock.unlock();
    take(result.unit, result.from, result.bytes);
    lock.lock();
    ++taken;
  }
  return taken;
}

// What was finished when an error ended the dealing. The error is thrown on, not what comes of it.
void Ranks::TakeLeft(const Take& take) {
  for (bool more = true; more;) {
    std::unique_lock lock(mutex_);
    more = !results_.empty();
    try {
      TakeResults(lock, take);
    } catch (const std::exception&) {
      continue;
    }
  }
}

void Ranks::Dismiss() {
  const std::lock_guard lock(mutex_);
  ++round_;
  askers_.clear();
  held_.clear();
  results_.clear();
  for (size_t other = 1; other < size_; ++other)
    SendLocked(other, BeginMessage(MessageKind::kEnded));
}

}  // namespace quantref
