#include "harness/base/team.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <cstddef>
#include <stdexcept>
#include <thread>
#include <vector>

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

}  // namespace
}  // namespace quantref
