#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace quantref {

// A borrowed body(index, worker): two words and no allocation, unlike std::function. What it was
// made from must outlive it.
class TeamBody {
 public:
  template <typename F>
  TeamBody(const F& body)  // NOLINT(google-explicit-constructor): lambdas are passed as they are
      : object_(&body), call_([](const void* object, size_t index, size_t worker) {
          (*static_cast<const F*>(object))(index, worker);
        }) {}
  void operator()(size_t index, size_t worker) const { call_(object_, index, worker); }

 private:
  const void* object_;
  void (*call_)(const void* object, size_t index, size_t worker);
};

// Threads that stay, for parallel regions too short to start threads for: a decoded token is a
// hundred of them. A thread without work spins for some microseconds and then sleeps. The caller
// never waits for a helper that has not begun, so where two virtual cores share one real core a
// region costs what it costs on one thread.
class Team {
 public:
  explicit Team(size_t threads);  // > 0, the calling thread included
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  size_t threads() const { return helpers_.size() + 1; }

  // As ParallelFor: body(index, worker) once for each index in [0, count), worker < threads(), 0
  // being the caller; handed out in increasing order; a body writes only to what its index or its
  // worker owns; the first exception stops the handing out and is rethrown here. One thread, or one
  // index, runs on the caller. One Run at a time: neither from two threads nor from a body.
  void Run(size_t count, TeamBody body);

 private:
  void Stop();
  void Help(size_t worker);
  bool Enter(uint32_t& seen);
  void Leave();
  void Work(size_t worker);
  void CloseAndWait();

  // One word tells everything that threads wait for (bits in team.cpp), because futexes, and so
  // std::atomic's wait, are fastest on 32 bits.
  alignas(64) std::atomic<uint32_t> state_{0};
  alignas(64) std::atomic<size_t> next_{0};
  size_t count_ = 0;
  const TeamBody* body_ = nullptr;
  std::mutex error_mutex_;
  std::exception_ptr first_error_;
  std::vector<std::jthread> helpers_;
};

// A null team is the calling thread alone: then every index runs here, in order.
inline size_t TeamThreads(const Team* team) { return team == nullptr ? 1 : team->threads(); }
void RunOn(Team* team, size_t count, TeamBody body);

}  // namespace quantref
