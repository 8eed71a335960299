#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "eval/team/link.h"
#include "eval/team/workers.h"

namespace quantref {

// Several processes over a link, which one thread of each looks after: it alone calls it, sleeps
// while there is nothing to do, and lets the others hear that this rank lives.
class Ranks : public Workers {
 public:
  // `open` is called by that thread, and makes the link, as it calls those of `told`. A rank that
  // is not heard of for so long is lost: rank 0 says which, and ends the run; rank 1 does where it
  // is rank 0. Throws what `open` throws.
  Ranks(const std::function<std::unique_ptr<Link>()>& open, std::string host,
        std::chrono::duration<double> timeout, ToldToStop told = {});
  ~Ranks() override;
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  size_t rank() const override { return rank_; }
  size_t size() const override { return size_; }
  std::vector<std::string> hosts() const override { return hosts_; }
  void Deal(std::span<const size_t> units, size_t threads, const Work& work,
            const Take& take) override;
  void Dismiss() override;
  std::string Broadcast(std::string bytes) override;
  std::vector<std::string> Collect(std::string bytes) override;
  void SendTo(size_t rank, std::string bytes) override;
  std::string ReceiveFrom(size_t rank) override;
  void Fail(const std::string& why) override;
  std::string AwaitEnd(bool complete) override;
  void End(bool complete) override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Result {
    size_t unit = 0, from = 0;
    std::string bytes;
  };
  struct Asker {
    size_t rank = 0, worker = 0;
    auto operator<=>(const Asker&) const = default;
  };

  // Of the thread that looks after the link.
  void Serve(const std::function<std::unique_ptr<Link>()>& open);
  void ExchangeAll(Link& link);
  bool Exchange(Link& link);

  // With mutex_ held.
  void HandleLocked(Message message);
  void HandleOfRoundLocked(Message message);
  void GiveLocked();
  void BeatLocked();
  void WatchLocked();
  void StopLocked();
  void TellStoppedLocked();
  // Throws where the run has failed, is over or cancelled. What another rank passes on may come
  // when rank 0 has ended the run already.
  void CheckLocked(bool passed_on = false) const;
  void SendLocked(size_t to, std::string bytes);
  bool HearsOfLocked(size_t other) const {
    return rank_ == 0 ? other != 0 && !gone_.contains(other) : other == 0;
  }

  void ShareHosts(std::string own);
  void Wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& ready,
            bool passed_on = false);
  void Send(size_t to, std::string head, std::string_view body);
  std::string NextFrom(size_t rank);
  std::string NameOf(size_t rank) const;
  void DealOut(std::span<const size_t> units, size_t threads, const Work& work, const Take& take);
  void WorkOwn(const Work& work, size_t worker);
  size_t TakeResults(std::unique_lock<std::mutex>& lock, const Take& take);
  void TakeLeft(const Take& take);
  void WorkForFirst(const Work& work, size_t worker);

  size_t rank_ = 0, size_ = 1;
  std::vector<std::string> hosts_;
  const std::chrono::duration<double> timeout_;
  const ToldToStop told_stop_;
  std::chrono::duration<double> nap_{1e-3};

  mutable std::mutex mutex_;
  std::mutex long_mutex_;                   // of who sends in pieces
  std::condition_variable changed_, wake_;  // for the others; for the link's thread
  std::vector<std::pair<size_t, std::string>> outbox_;
  size_t queued_ = 0, unsent_ = 0;               // bytes in the outbox, and in the link
  std::vector<std::deque<std::string>> inbox_;   // by rank: what Broadcast and Collect brought
  std::vector<std::string> begun_;               // by rank: pieces, of which more follows
  std::vector<Clock::time_point> heard_, told_;  // of and to each rank
  Clock::time_point watched_ = Clock::now();
  std::optional<Clock::time_point> was_held_{};  // when it was found that this process had been
  std::deque<size_t> units_;                     // that nobody has yet
  std::deque<Asker> askers_;                     // other ranks' threads that ask for one
  std::map<Asker, size_t> held_;                 // how many of this round they have
  size_t own_threads_ = 0;                       // that do units here
  std::deque<Result> results_;                   // that nobody has taken yet
  std::map<size_t, std::deque<size_t>> given_;   // to this rank's threads
  // Rounds of Deal until Dismiss: this rank's, and how many rank 0 has ended.
  size_t round_ = 0, rounds_ended_ = 0;
  bool dealing_ = false;  // units are being made
  size_t awaited_ = 0;    // messages of who is at work, too
  bool opened_ = false, over_ = false, stop_ = false, peaceful_ = false, aborts_ = false;
  std::set<size_t> gone_;     // on rank 0: others, which know that it is over
  std::set<size_t> stopped_;  // others, which know that all are told to stop
  std::optional<Clock::time_point> stops_since_;
  bool stop_said_ = false, first_is_lost_ = false;  // the latter rank 1 has said
  std::string failure_;                             // why the run cannot go on; "": it can
  bool lost_ = false;                               // it is that a rank is not heard of
  std::exception_ptr open_error_;
  std::jthread thread_;
};

}  // namespace quantref
