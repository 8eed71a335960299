#pragma once

#include <algorithm>
#include <atomic>
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

#include "eval/team/ranks.h"

// Ranks as threads of a test. Only tests include this.

namespace quantref::testing {

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

inline constexpr Seconds kPatience{30};

// Once the test knows what it wanted to: in the place of MPI, which ends them by force.
inline void EndOthers(Post& post) {
  const std::lock_guard lock(post.mutex);
  post.stopped.clear();
  post.deaf.clear();
  for (size_t other = 1; other < post.boxes.size(); ++other) post.boxes[other].push_back({0, "q"});
}

// By rank 0.
inline void EndInPeace(Workers& workers) {
  workers.AwaitEnd(true);
  workers.End(true);
}

// Runs body(workers) on so many ranks at once.
inline void OnRanks(Post& post, const std::function<void(Workers&)>& body,
                    Seconds patience = kPatience, const ToldToStop& told = {}) {
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

inline std::vector<size_t> FirstNumbers(size_t count) {
  std::vector<size_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), size_t{0});
  return numbers;
}

}  // namespace quantref::testing
