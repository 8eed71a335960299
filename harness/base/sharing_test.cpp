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
#include "harness/base/parallel.h"
#include "harness/base/team.h"

// What ParallelFor and a Team promise alike.

namespace quantref {
namespace {

class ByCalls {
 public:
  explicit ByCalls(size_t threads) : threads_(threads) {}
  template <typename Body>
  void Run(size_t count, const Body& body) {
    ParallelFor(count, threads_, body);
  }

 private:
  size_t threads_;
};

class ByTeam {
 public:
  explicit ByTeam(size_t threads) : team_(threads) {}
  template <typename Body>
  void Run(size_t count, const Body& body) {
    team_.Run(count, body);
  }

 private:
  Team team_;
};

TEMPLATE_TEST_CASE("sharing work: every index runs exactly once", "[parallel]", ByCalls, ByTeam) {
  for (size_t threads : {1, 2, 4, 9}) {
    for (size_t count : {1, 2, 3, 8, 1000}) {
      std::vector<std::atomic<int>> runs(count);
      TestType(threads).Run(count, [&](size_t index, size_t) { ++runs.at(index); });
      for (size_t i = 0; i < count; ++i) {
        INFO("index " << i << " of " << count << " on " << threads << " threads");
        CHECK(runs[i] == 1);
      }
    }
  }
}

TEMPLATE_TEST_CASE("sharing work: a worker's scratch is its own", "[parallel]", ByCalls, ByTeam) {
  for (size_t threads : {2, 4}) {
    std::vector<std::atomic<bool>> busy(threads);
    std::atomic<int> clashes{0};
    TestType(threads).Run(2000, [&](size_t, size_t worker) {
      if (busy.at(worker).exchange(true)) ++clashes;
      busy[worker] = false;
    });
    CHECK(clashes == 0);
  }
}

TEMPLATE_TEST_CASE("sharing work: the threads do run side by side, asleep before or not",
                   "[parallel]", ByCalls, ByTeam) {
  for (size_t threads : {2, 4}) {
    TestType share(threads);
    for (int pause_ms : {0, 20, 0}) {
      std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
      // No body returns before all have begun.
      std::atomic<size_t> begun{0};
      std::atomic<bool> late{false};
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      share.Run(threads, [&](size_t, size_t) {
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

TEMPLATE_TEST_CASE("sharing work: results do not depend on the number of threads", "[parallel]",
                   ByCalls, ByTeam) {
  const auto run = [](size_t threads) {
    std::vector<double> results(500);
    std::vector<double> scratch(threads);
    TestType(threads).Run(results.size(), [&](size_t index, size_t worker) {
      scratch[worker] = 0;
      for (size_t k = 0; k <= index; ++k) scratch[worker] += std::sqrt(static_cast<double>(k));
      results[index] = scratch[worker];
    });
    return results;
  };
  const std::vector<double> expected = run(1);
  for (size_t threads : {2, 3, 4, 8}) CHECK(run(threads) == expected);
}

TEMPLATE_TEST_CASE(
    "sharing work: an exception reaches the caller as it is, and the next work is done",
    "[parallel]", ByCalls, ByTeam) {
  for (size_t threads : {1, 2, 4}) {
    TestType share(threads);
    for (int repetition = 0; repetition < 3; ++repetition) {
      try {
        share.Run(100, [](size_t index, size_t) {
          if (index == 17) throw Error("bad", "index 17", "mend it");
        });
        FAIL("no exception on " << threads << " threads");
      } catch (const Error& error) {
        CHECK(error.where() == "index 17");
        CHECK(error.hint() == "mend it");
      }
      std::atomic<int> runs{0};
      share.Run(100, [&](size_t, size_t) { ++runs; });
      CHECK(runs == 100);
    }
  }
}

TEMPLATE_TEST_CASE("sharing work: one of several exceptions reaches the caller", "[parallel]",
                   ByCalls, ByTeam) {
  for (size_t threads : {1, 2, 4}) {
    const auto throwing = [](size_t index, size_t) {
      throw std::runtime_error(std::to_string(index));
    };
    CHECK_THROWS_AS(TestType(threads).Run(100, throwing), std::runtime_error);
  }
}

TEMPLATE_TEST_CASE("sharing work: nothing more is handed out after an exception", "[parallel]",
                   ByCalls, ByTeam) {
  for (size_t threads : {1, 2, 4}) {
    constexpr size_t kCount = 20000;
    std::atomic<size_t> runs{0};
    const auto body = [&](size_t index, size_t) {
      ++runs;
      if (index == 0) throw std::runtime_error("first");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    CHECK_THROWS_AS(TestType(threads).Run(kCount, body), std::runtime_error);
    CHECK(runs < kCount / 2);
    if (threads == 1) CHECK(runs == 1);
  }
}

TEMPLATE_TEST_CASE("sharing work: the call returns only when all bodies have", "[parallel]",
                   ByCalls, ByTeam) {
  TestType share(4);
  for (bool throws : {false, true, false}) {
    std::atomic<int> inside{0};
    const auto body = [&](size_t index, size_t) {
      ++inside;
      std::this_thread::sleep_for(std::chrono::milliseconds(index == 0 ? 1 : 20));
      --inside;
      if (throws && index == 0) throw std::runtime_error("first");
    };
    if (throws) {
      CHECK_THROWS_AS(share.Run(4, body), std::runtime_error);
    } else {
      share.Run(4, body);
    }
    CHECK(inside == 0);
  }
}

}  // namespace
}  // namespace quantref
