#include "harness/base/team.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "harness/base/error.h"

namespace quantref {
namespace {

TEST_CASE("team: every index runs exactly once, region after region", "[team]") {
  for (size_t threads : {1, 2, 4, 9}) {
    Team team(threads);
    CHECK(team.threads() == threads);
    for (size_t count : {1, 2, 3, 8, 1000}) {
      std::vector<std::atomic<int>> runs(count);
      for (int region = 1; region <= 20; ++region) {
        team.Run(count, [&](size_t index, size_t) { ++runs.at(index); });
        size_t wrong = 0;
        for (const std::atomic<int>& run : runs) wrong += run != region;
        INFO("region " << region << " of " << count << " on " << threads << " threads");
        REQUIRE(wrong == 0);
      }
    }
  }
}

TEST_CASE("team: more short regions than their numbers can tell apart", "[team]") {
  Team team(3);
  std::vector<size_t> sums(4);
  constexpr size_t kRegions = (size_t{1} << 17) + 100;
  for (size_t region = 0; region < kRegions; ++region)
    team.Run(sums.size(), [&](size_t index, size_t) { sums[index] += index; });
  for (size_t i = 0; i < sums.size(); ++i) CHECK(sums[i] == i * kRegions);
}

TEST_CASE("team: no index, no call", "[team]") {
  for (size_t threads : {1, 2, 4})
    Team(threads).Run(0, [](size_t, size_t) { throw std::logic_error("called"); });
  RunOn(nullptr, 0, [](size_t, size_t) { throw std::logic_error("called"); });
}

// All indices on this thread, as worker 0, in increasing order.
template <typename Run>
void CheckInline(Run run, size_t count) {
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<size_t> order;
  run([&](size_t index, size_t worker) {
    CHECK(std::this_thread::get_id() == caller);
    CHECK(worker == 0);
    order.push_back(index);
  });
  REQUIRE(order.size() == count);
  for (size_t i = 0; i < count; ++i) CHECK(order[i] == i);
}

TEST_CASE("team: none, one thread and one index run on the caller, in order", "[team]") {
  Team one(1), three(3);
  CheckInline([&](TeamBody body) { one.Run(50, body); }, 50);
  CheckInline([&](TeamBody body) { three.Run(1, body); }, 1);
  CheckInline([](TeamBody body) { RunOn(nullptr, 50, body); }, 50);
  CheckInline([&](TeamBody body) { RunOn(&one, 50, body); }, 50);
  CHECK(TeamThreads(nullptr) == 1);
  CHECK(TeamThreads(&three) == 3);
}

TEST_CASE("team: a worker's scratch is its own", "[team]") {
  for (size_t threads : {2, 4}) {
    Team team(threads);
    std::vector<std::atomic<bool>> busy(threads);
    std::atomic<int> clashes{0};
    team.Run(2000, [&](size_t, size_t worker) {
      if (busy.at(worker).exchange(true)) ++clashes;
      busy[worker] = false;
    });
    CHECK(clashes == 0);
  }
}

TEST_CASE("team: the threads do run side by side, asleep before or not", "[team]") {
  for (size_t threads : {2, 4}) {
    Team team(threads);
    for (int pause_ms : {0, 20, 0}) {
      std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
      // No body returns before all have begun.
      std::atomic<size_t> begun{0};
      std::atomic<bool> late{false};
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      RunOn(&team, threads, [&](size_t, size_t) {
        ++begun;
        while (begun < threads && !late) {
          std::this_thread::yield();
          if (std::chrono::steady_clock::now() > deadline) late = true;
        }
      });
      CHECK_FALSE(late);
    }
  }
}

TEST_CASE("team: results do not depend on the number of threads", "[team]") {
  const auto run = [](size_t threads) {
    Team team(threads);
    std::vector<double> results(500);
    std::vector<double> scratch(threads);
    team.Run(results.size(), [&](size_t index, size_t worker) {
      scratch[worker] = 0;
      for (size_t k = 0; k <= index; ++k) scratch[worker] += std::sqrt(static_cast<double>(k));
      results[index] = scratch[worker];
    });
    return results;
  };
  const std::vector<double> expected = run(1);
  for (size_t threads : {2, 3, 4, 8}) CHECK(run(threads) == expected);
}

TEST_CASE("team: an exception reaches the caller as it is, and the team goes on", "[team]") {
  for (size_t threads : {1, 2, 4}) {
    Team team(threads);
    for (int repetition = 0; repetition < 3; ++repetition) {
      try {
        team.Run(100, [](size_t index, size_t) {
          if (index == 17) throw Error("bad", "index 17", "mend it");
        });
        FAIL("no exception on " << threads << " threads");
      } catch (const Error& error) {
        CHECK(error.where() == "index 17");
        CHECK(error.hint() == "mend it");
      }
      std::atomic<int> runs{0};
      team.Run(100, [&](size_t, size_t) { ++runs; });
      CHECK(runs == 100);
    }
  }
}

TEST_CASE("team: one of several exceptions reaches the caller", "[team]") {
  for (size_t threads : {1, 2, 4}) {
    Team team(threads);
    const auto throwing = [](size_t index, size_t) {
      throw std::runtime_error(std::to_string(index));
    };
    CHECK_THROWS_AS(team.Run(100, throwing), std::runtime_error);
  }
}

TEST_CASE("team: nothing more is handed out after an exception", "[team]") {
  for (size_t threads : {1, 2, 4}) {
    Team team(threads);
    constexpr size_t kCount = 20000;
    std::atomic<size_t> runs{0};
    const auto body = [&](size_t index, size_t) {
      ++runs;
      if (index == 0) throw std::runtime_error("first");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    CHECK_THROWS_AS(team.Run(kCount, body), std::runtime_error);
    CHECK(runs < kCount / 2);
    if (threads == 1) CHECK(runs == 1);
  }
}

TEST_CASE("team: the call returns only when all bodies have", "[team]") {
  Team team(4);
  for (bool throws : {false, true, false}) {
    std::atomic<int> inside{0};
    const auto body = [&](size_t index, size_t) {
      ++inside;
      std::this_thread::sleep_for(std::chrono::milliseconds(index == 0 ? 1 : 20));
      --inside;
      if (throws && index == 0) throw std::runtime_error("first");
    };
    if (throws) {
      CHECK_THROWS_AS(team.Run(4, body), std::runtime_error);
    } else {
      team.Run(4, body);
    }
    CHECK(inside == 0);
  }
}

}  // namespace
}  // namespace quantref
