#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "eval/team/ranks_testing.h"

namespace quantref {
namespace {

using namespace std::chrono_literals;
using testing::EndInPeace;
using testing::FirstNumbers;
using testing::OnRanks;
using testing::Post;
using testing::Seconds;

TEST_CASE("ranks: every unit is done once, whoever is slow, in round after round") {
  for (const size_t size : {1u, 2u, 3u, 5u}) {
    Post post(size);
    OnRanks(post, [&](Workers& workers) {
      const auto work = [&](size_t unit, size_t) {
        if (workers.rank() == 1) std::this_thread::sleep_for(5ms);
        return std::to_string(unit * unit);
      };
      for (size_t round = 0; round < 3; ++round) {
        if (!workers.IsFirst()) {
          workers.Deal({}, 2, work, {});
          continue;
        }
        std::vector<std::string> results(40);
        for (const size_t end : {20u, 40u}) {  // two stretches of one round
          const std::vector<size_t> all = FirstNumbers(end);
          workers.Deal(std::span(all).subspan(end - 20), 1 + round, work,
                       [&](size_t unit, size_t, std::string_view result) {
                         CHECK(results[unit].empty());
                         results[unit] = result;
                       });
        }
        workers.Dismiss();
        for (size_t unit = 0; unit < results.size(); ++unit)
          CHECK(results[unit] == std::to_string(unit * unit));
      }
      if (workers.IsFirst()) EndInPeace(workers);
    });
    CHECK(post.closed == static_cast<int>(size));
    CHECK(post.aborted == 0);
  }
}

TEST_CASE("ranks: what is broadcast reaches all, and what is collected comes by rank") {
  for (const size_t size : {1u, 2u, 3u, 5u, 8u}) {
    Post post(size);
    std::mutex mutex;
    OnRanks(post, [&](Workers& workers) {
      for (const char* text : {"", "all", "again"}) {
        const std::string got = workers.Broadcast(workers.IsFirst() ? text : "not this");
        const auto all = workers.Collect(std::to_string(workers.rank()));
        workers.WaitForFirst();
        const std::lock_guard lock(mutex);
        CHECK(got == text);
        CHECK(workers.hosts().back() == "host" + std::to_string(size - 1));
        if (!workers.IsFirst()) continue;
        REQUIRE(all.size() == size);
        for (size_t rank = 0; rank < size; ++rank) CHECK(all[rank] == std::to_string(rank));
      }
      if (workers.IsFirst()) EndInPeace(workers);
    });
  }
}

TEST_CASE("ranks: what one sends to another arrives in that order, beside what is for all") {
  Post post(3);
  std::vector<std::string> got(3);
  OnRanks(post, [&](Workers& workers) {
    const size_t next = (workers.rank() + 1) % 3, before = (workers.rank() + 2) % 3;
    for (const char* text : {"a", "b"}) workers.SendTo(next, text + std::to_string(next));
    std::string& all = got[workers.rank()];
    for (size_t i = 0; i < 2; ++i) all += workers.ReceiveFrom(before);
    all += workers.Broadcast(workers.IsFirst() ? "c" : "");
    if (workers.IsFirst()) EndInPeace(workers);
  });
  CHECK(got == std::vector<std::string>{"a0b0c", "a1b1c", "a2b2c"});
}

// How many of these units rank 1 has been given when it has done none yet, and rank 0 all others.
size_t UnitsGivenAtOnce(size_t count) {
  Post post(2);
  std::atomic<size_t> theirs{0}, own{0};
  OnRanks(post, [&](Workers& workers) {
    const auto work = [&](size_t, size_t) -> std::string {
      if (workers.IsFirst()) {
        while (theirs == 0) std::this_thread::sleep_for(1ms);
        ++own;
      } else {
        ++theirs;
        while (own + post.given < count) std::this_thread::sleep_for(1ms);
      }
      return "";
    };
    if (!workers.IsFirst()) return workers.Deal({}, 1, work, {});
    workers.Deal(FirstNumbers(count), 1, work, [](size_t, size_t, auto) {});
    workers.Dismiss();
    EndInPeace(workers);
  });
  CHECK(own + theirs == count);
  return theirs;
}

TEST_CASE("ranks: units are given ahead of time, but not where others could begin with them") {
  CHECK(UnitsGivenAtOnce(20) == 2);
  CHECK(UnitsGivenAtOnce(4) == 1);
}

// Of each rank's bytes another text, so that none is taken for another's.
std::string LongText(size_t rank) {
  std::string text(5 * kLongestMessage + 17, static_cast<char>('a' + rank));
  for (size_t i = 0; i < text.size(); i += 1000) text[i] = static_cast<char>('A' + i / 1000 % 26);
  return text;
}

TEST_CASE("ranks: what takes longer than the patience arrives whole, and nobody counts as lost") {
  Post post(3, 150ms);
  OnRanks(
      post,
      [&](Workers& workers) {
        const auto start = std::chrono::steady_clock::now();
        const bool same = workers.Broadcast(workers.IsFirst() ? LongText(0) : "") == LongText(0);
        const auto all = workers.Collect(LongText(workers.rank()));
        const auto work = [](size_t unit, size_t) { return LongText(unit); };
        size_t right = 0;
        if (workers.IsFirst()) {
          const std::vector<size_t> units = FirstNumbers(2);
          workers.Deal(units, 1, work, [&](size_t unit, size_t, std::string_view result) {
            right += result == LongText(unit);
          });
          workers.Dismiss();
        } else {
          workers.Deal({}, 2, work, {});
        }
        const Seconds taken = std::chrono::steady_clock::now() - start;
        if (workers.IsFirst()) EndInPeace(workers);
        const std::lock_guard lock(post.mutex);
        CHECK(same);
        if (!workers.IsFirst()) return;
        CHECK(taken > 2s);
        CHECK(right == 2);
        for (size_t rank = 0; rank < 3; ++rank) CHECK(all[rank] == LongText(rank));
        CHECK(post.longest <= kLongestMessage);
      },
      2s);
}

}  // namespace
}  // namespace quantref
