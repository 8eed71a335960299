// Ranks of which one fails, hangs, is lost or told to stop: what is said, and that nothing waits
// for good.

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "eval/team/ranks_testing.h"
#include "harness/base/error.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using namespace std::chrono_literals;
using testing::EndInPeace;
using testing::EndOthers;
using testing::FirstNumbers;
using testing::kPatience;
using testing::OnRanks;
using testing::Post;
using testing::Seconds;

TEST_CASE("ranks: one that fails is named by rank 0, what was finished is taken before") {
  Post post(3);
  std::vector<std::string> said(3);  // by rank; checks are for one thread at a time
  std::atomic<size_t> taken{0};
  OnRanks(post, [&](Workers& workers) {
    const auto work = [&](size_t unit, size_t) -> std::string {
      while (workers.rank() == 2 && taken == 0) std::this_thread::sleep_for(1ms);
      if (workers.rank() == 2) throw Error("no disk", "model");
      std::this_thread::sleep_for(2ms);
      return std::to_string(unit);
    };
    if (workers.IsFirst()) {
      const std::vector<size_t> units = FirstNumbers(5000);
      CHECK_ERROR(workers.Deal(units, 1, work, [&](size_t, size_t, auto) { ++taken; }),
                  "rank 2 on host2: model: no disk");
      workers.End(false);
      EndOthers(post);
    } else {
      said[workers.rank()] = testing::ErrorMessage([&] { workers.Deal({}, 2, work, {}); });
    }
  });
  CHECK(said[1] == "rank 0 has ended the run");
  CHECK(said[2] == "model: no disk");
  CHECK(post.aborted == 1);
}

// What is said where rank 2 tells `speaker` that all are to stop while `gone`, if any, does not
// receive any more, nor sends, unless it is `busy`: then it sends all the while.
std::string SaidOfStop(size_t speaker, std::optional<size_t> gone, Seconds answer,
                       bool busy = false) {
  Post post(3);
  std::atomic<int> told{0}, times_said{0};
  std::string said;
  ToldToStop calls;
  calls.stop = [&] { ++told; };
  calls.say = [&](const std::string& lost) {
    said = lost;
    ++times_said;
  };
  calls.answer = answer;
  OnRanks(
      post,
      [&](Workers& workers) {
        workers.Collect({});  // all have begun
        while (busy && workers.rank() == gone && times_said == 0) {
          workers.SendTo(0, "more");
          std::this_thread::sleep_for(1ms);
        }
        if (!workers.IsFirst()) return;
        {
          const std::lock_guard lock(post.mutex);
          if (gone) (busy ? post.deaf : post.stopped).insert(*gone);
          post.boxes[speaker].push_back({2, "s"});
        }
        while (times_said == 0) std::this_thread::sleep_for(1ms);
        workers.End(false);
        EndOthers(post);
      },
      kPatience, calls);
  CHECK(told == (speaker == 0 ? 1 : 0));
  CHECK(times_said == 1);
  return said;
}

TEST_CASE("ranks: told to stop, all hear of it, and who does not is named by who speaks for all") {
  CHECK(SaidOfStop(0, std::nullopt, kPatience) == "");
  for (const size_t gone : {1u, 0u}) {
    const std::string said = SaidOfStop(gone == 0 ? 1 : 0, gone, 100ms);
    INFO(said);
    CHECK(testing::Contains(said, "interrupt: stopped by a signal"));
    CHECK(testing::Contains(said, gone == 0 ? "rank 0 on host0" : "rank 1 on host1"));
    CHECK(testing::Contains(said, "are kept: go on with --resume"));
  }
}

TEST_CASE("ranks: told to stop, who has not answered yet but is heard of is not named") {
  CHECK(SaidOfStop(0, 1, 500ms, true) == "");
}

TEST_CASE("ranks: one that hangs is named after a while") {
  Post post(3);
  OnRanks(
      post,
      [&](Workers& workers) {
        const auto work = [&](size_t, size_t) -> std::string {
          std::this_thread::sleep_for(5ms);
          if (workers.rank() != 1) return "";
          const std::lock_guard lock(post.mutex);
          post.stopped.insert(1);
          return "";
        };
        if (workers.IsFirst()) {
          const std::vector<size_t> units = FirstNumbers(5000);
          CHECK_ERROR(workers.Deal(units, 1, work, [](size_t, size_t, auto) {}),
                      "rank 1 on host1 has not been heard of for 1 seconds");
          CHECK(testing::Contains(workers.AwaitEnd(false), "rank 1 on host1"));
          workers.End(false);
          EndOthers(post);
        } else {
          testing::ErrorMessage([&] { workers.Deal({}, 1, work, {}); });
        }
      },
      1s);
  CHECK(post.aborted >= 1);
}

// Else rank 0 would wait in MPI_Finalize, without a word and for ever.
TEST_CASE("ranks: one that is lost when the work is done is named, too") {
  Post post(3);
  std::string why;
  OnRanks(
      post,
      [&](Workers& workers) {
        workers.Collect({});
        if (!workers.IsFirst()) return;
        {
          const std::lock_guard lock(post.mutex);
          post.stopped.insert(2);
        }
        why = workers.AwaitEnd(true);
        workers.End(false);
        EndOthers(post);
      },
      3s);
  CHECK(testing::Contains(why, "rank 2 on host2 has not been heard of for 3 seconds"));
  CHECK(testing::Contains(why, "what it wrote is complete"));
  CHECK(post.aborted >= 1);
}

TEST_CASE("ranks: an error of rank 0's own, or of what takes results, ends the dealing") {
  Post post(2);
  OnRanks(post, [&](Workers& workers) {
    const auto work = [](size_t unit, size_t) { return std::to_string(unit); };
    if (workers.IsFirst()) {
      const std::vector<size_t> units = FirstNumbers(50);
      const auto full = [](size_t unit, size_t, std::string_view) {
        if (unit == 7) throw Error("full", "disk");
      };
      CHECK_ERROR(workers.Deal(units, 1, work, full), "disk: full");
      workers.Dismiss();
    } else {
      workers.Deal({}, 2, work, {});
    }
    if (workers.IsFirst()) EndInPeace(workers);
  });
  CHECK(post.closed == 2);
}

TEST_CASE("ranks: where rank 0 hangs another one says so, and ends the run") {
  Post post(2);
  OnRanks(
      post,
      [&](Workers& workers) {
        workers.Collect({});  // the other has begun
        if (workers.IsFirst()) {
          {
            const std::lock_guard lock(post.mutex);
            post.stopped.insert(0);
          }
          while (post.aborted == 0) std::this_thread::sleep_for(5ms);
          workers.End(false);
        } else {
          CHECK_ERROR(workers.WaitForFirst(), "rank 0 on host0 has not been heard of for 1 sec");
          CHECK(testing::Contains(workers.AwaitEnd(false), "rank 0 on host0"));
        }
      },
      1s);
  CHECK(post.closed == 0);
}

}  // namespace
}  // namespace quantref
