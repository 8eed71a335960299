#include "harness/base/parallel.h"

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

TEST_CASE("parallel: every index runs exactly once", "[parallel]") {
  for (size_t threads : {1, 2, 4, 9}) {
    for (size_t count : {1, 2, 3, 8, 1000}) {
      std::vector<std::atomic<int>> runs(count);
      ParallelFor(count, threads, [&](size_t index, size_t) { ++runs.at(index); });
      for (size_t i = 0; i < count; ++i) {
        INFO("index " << i << " of " << count << " on " << threads << " threads");
        CHECK(runs[i] == 1);
      }
    }
  }
}

TEST_CASE("parallel: no index, no call", "[parallel]") {
  for (size_t threads : {1, 2, 4}) {
    ParallelFor(0, threads, [](size_t, size_t) { throw std::logic_error("called"); });
  }
}

TEST_CASE("parallel: one thread is the caller's, in increasing order", "[parallel]") {
  const std::thread::id caller = std::this_thread::get_id();
  std::vector<size_t> order;
  ParallelFor(50, 1, [&](size_t index, size_t worker) {
    CHECK(std::this_thread::get_id() == caller);
    CHECK(worker == 0);
    order.push_back(index);
  });
  REQUIRE(order.size() == 50);
  for (size_t i = 0; i < order.size(); ++i) CHECK(order[i] == i);
}

TEST_CASE("parallel: a worker's scratch is its own", "[parallel]") {
  for (size_t threads : {2, 4}) {
    std::vector<std::atomic<bool>> busy(threads);
    std::atomic<int> clashes{0};
    ParallelFor(2000, threads, [&](size_t, size_t worker) {
      if (busy.at(worker).exchange(true)) ++clashes;
      busy[worker] = false;
    });
    CHECK(clashes == 0);
  }
}

TEST_CASE("parallel: the threads do run side by side", "[parallel]") {
  for (size_t threads : {2, 4}) {
    // No body returns before all have begun.
    std::atomic<size_t> begun{0};
    std::atomic<bool> late{false};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    ParallelFor(threads, threads, [&](size_t, size_t) {
      ++begun;
      while (begun < threads && !late) {
        std::this_thread::yield();
        if (std::chrono::steady_clock::now() > deadline) late = true;
      }
    });
    CHECK_FALSE(late);
  }
}

TEST_CASE("parallel: results do not depend on the number of threads", "[parallel]") {
  const auto run = [](size_t threads) {
    std::vector<double> results(500);
    std::vector<double> scratch(threads);
    ParallelFor(results.size(), threads, [&](size_t index, size_t worker) {
      scratch[worker] = 0;
      for (size_t k = 0; k <= index; ++k) scratch[worker] += std::sqrt(static_cast<double>(k));
      results[index] = scratch[worker];
    });
    return results;
  };
  const std::vector<double> expected = run(1);
  for (size_t threads : {2, 3, 4, 8}) CHECK(run(threads) == expected);
}

TEST_CASE("parallel: an exception reaches the caller as it is", "[parallel]") {
  for (size_t threads : {1, 2, 4}) {
    try {
      ParallelFor(100, threads, [](size_t index, size_t) {
        if (index == 17) throw Error("bad", "index 17", "mend it");
      });
      FAIL("no exception on " << threads << " threads");
    } catch (const Error& error) {
      CHECK(error.where() == "index 17");
      CHECK(error.hint() == "mend it");
    }
  }
}

TEST_CASE("parallel: one of several exceptions reaches the caller", "[parallel]") {
  for (size_t threads : {1, 2, 4}) {
    const auto throwing = [](size_t index, size_t) {
      throw std::runtime_error(std::to_string(index));
    };
    CHECK_THROWS_AS(ParallelFor(100, threads, throwing), std::runtime_error);
  }
}

TEST_CASE("parallel: nothing more is handed out after an exception", "[parallel]") {
  for (size_t threads : {1, 2, 4}) {
    constexpr size_t kCount = 20000;
    std::atomic<size_t> runs{0};
    const auto body = [&](size_t index, size_t) {
      ++runs;
      if (index == 0) throw std::runtime_error("first");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    CHECK_THROWS_AS(ParallelFor(kCount, threads, body), std::runtime_error);
    CHECK(runs < kCount / 2);
    if (threads == 1) CHECK(runs == 1);
  }
}

TEST_CASE("parallel: the call returns only when all bodies have", "[parallel]") {
  for (bool throws : {false, true}) {
    std::atomic<int> inside{0};
    const auto body = [&](size_t index, size_t) {
      ++inside;
      std::this_thread::sleep_for(std::chrono::milliseconds(index == 0 ? 1 : 20));
      --inside;
      if (throws && index == 0) throw std::runtime_error("first");
    };
    if (throws) {
      CHECK_THROWS_AS(ParallelFor(4, 4, body), std::runtime_error);
    } else {
      ParallelFor(4, 4, body);
    }
    CHECK(inside == 0);
  }
}

}  // namespace
}  // namespace quantref
