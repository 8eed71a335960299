#include "eval/team/ranks.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "harness/base/error.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using namespace std::chrono_literals;

using Seconds = std::chrono::duration<double>;

// Ranks as threads of this process, and the messages between them.
struct Post {
  explicit Post(size_t ranks, Seconds slowness = {}) : boxes(ranks), each(slowness) {}
  std::mutex mutex;
  std::vector<std::deque<Message>> boxes;
  std::set<size_t> stopped;  // neither send nor receive any more
  std::set<size_t> deaf;     // do not receive any more
  const Seconds each;        // that a large message is on its way
  size_t longest = 0;        // of all messages
  std::atomic<int> closed{0}, aborted{0};
  std::atomic<size_t> given{0};  // units, to other ranks
};

class PostLink : public Link {
 public:
  PostLink(Post& post, size_t rank) : post_(post), rank_(rank) {}
  size_t rank() const override { return rank_; }
  size_t size() const override { return post_.boxes.size(); }
  void Send(size_t to, std::string bytes) override { leaving_.emplace_back(to, std::move(bytes)); }
  // One after the other, so that what is small waits behind what is large.
  size_t UnsentBytes() override {
    const std::lock_guard lock(post_.mutex);
    while (!leaving_.empty() && Clock::now() >= free_) {
      auto& [to, bytes] = leaving_.front();
      const size_t size = bytes.size();
      post_.longest = std::max(post_.longest, size);
      if (bytes.starts_with('g')) ++post_.given;
      if (size > kLongestMessage / 2)
        free_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(post_.each);
      if (!post_.stopped.contains(rank_)) post_.boxes[to].push_back({rank_, std::move(bytes)});
      leaving_.pop_front();
    }
    size_t unsent = 0;
    for (const auto& [to, bytes] : leaving_) unsent += bytes.size();
    return unsent;
  }
  bool IsIdle() override { return leaving_.empty(); }
  std::optional<Message> Receive() override {
    const std::lock_guard lock(post_.mutex);
    std::deque<Message>& box = post_.boxes[rank_];
    if (box.empty() || post_.stopped.contains(rank_) || post_.deaf.contains(rank_))
      return std::nullopt;
    Message message = std::move(box.front());
    box.pop_front();
    return message;
  }
  void Close() override { ++post_.closed; }
  void Abort(int) override { ++post_.aborted; }

 private:
  using Clock = std::chrono::steady_clock;
  Post& post_;
  const size_t rank_;
  std::deque<std::pair<size_t, std::string>> leaving_;
  Clock::time_point free_{};  // when the next may leave
};

constexpr Seconds kPatience = 30s;

// Once the test knows what it wanted to: in the place of MPI, which ends them by force.
void EndOthers(Post& post) {
  const std::lock_guard lock(post.mutex);
  post.stopped.clear();
  post.deaf.clear();
  for (size_t other = 1; other < post.boxes.size(); ++other) post.boxes[other].push_back({0, "q"});
}

// By rank 0.
void EndInPeace(Workers& workers) {
  workers.AwaitEnd(true);
  workers.End(true);
}

// Runs body(workers) on so many ranks at once.
void OnRanks(Post& post, const std::function<void(Workers&)>& body, Seconds patience = kPatience,
             const ToldToStop& told = {}) {
  std::vector<std::jthread> threads;
  for (size_t rank = 0; rank < post.boxes.size(); ++rank) {
    threads.emplace_back([&, rank] {
      Ranks ranks([&, rank] { return std::make_unique<PostLink>(post, rank); },
                  "host" + std::to_string(rank), patience, told);
      body(ranks);
      if (rank > 0) {
        ranks.AwaitEnd(true);
        ranks.End(true);
      }
    });
  }
}

std::vector<size_t> FirstNumbers(size_t count) {
  std::vector<size_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), size_t{0});
  return numbers;
}

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
