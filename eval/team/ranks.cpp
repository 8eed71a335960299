#include "eval/team/ranks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "eval/team/message_kinds.h"
#include "harness/base/cancel.h"
#include "harness/base/start_thread.h"

namespace quantref {
namespace {

using Duration = std::chrono::duration<double>;
// Between two looks at the link: while something is under way, behind something, while a thread
// waits for what others make, while units are being made, and else.
constexpr Duration kTransferNap(5e-5), kShortNap(2e-4), kAwaitNap(5e-4), kDealNap(5e-3),
    kIdleNap(2e-2);
constexpr size_t kEnoughAhead = 2;    // units that are left for each thread of all ranks
constexpr Duration kLook(0.05);       // at whether the user has cancelled
constexpr size_t kMostAtOnce = 16;    // messages, between two heartbeats
constexpr double kBeats = 8;          // in the time after which a rank counts as lost
constexpr double kLaterPatience = 2;  // of those behind rank 1, which speaks where rank 0 is lost
constexpr size_t kMostUnderWay = size_t{1} << 26;  // bytes
constexpr char kComplete[] = "rank 0 was done: what it wrote is complete";
constexpr char kKept[] = "finished windows and cells are kept: go on with --resume";
constexpr int kAbortCode = 2;  // as of any program that was stopped

}  // namespace

Ranks::Ranks(const std::function<std::unique_ptr<Link>()>& open, std::string host, Duration timeout,
             ToldToStop told)
    : timeout_(timeout), told_stop_(std::move(told)) {
  thread_ = StartThread([this, open] { Serve(open); });
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return opened_; });
  }
  try {
    if (open_error_) std::rethrow_exception(open_error_);
    ShareHosts(std::move(host));
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    thread_.join();
    throw;
  }
}

Ranks::~Ranks() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
}

void Ranks::ShareHosts(std::string own) {
  std::string bytes;
  for (const std::string& host : Collect(std::move(own))) PutList(bytes, host);
  bytes = Broadcast(std::move(bytes));
  const std::lock_guard lock(mutex_);
  std::string_view rest = bytes;
  for (std::string host; TakeList(rest, host);) hosts_.push_back(host);
}

void Ranks::Serve(const std::function<std::unique_ptr<Link>()>& open) {
  std::unique_ptr<Link> link;
  {
    const std::lock_guard lock(mutex_);
    try {
      link = open();
      rank_ = link->rank();
      size_ = link->size();
      inbox_.resize(size_);
      begun_.resize(size_);
      heard_.assign(size_, Clock::now());
      told_ = heard_;
    } catch (...) {
      open_error_ = std::current_exception();
    }
    opened_ = true;
  }
  changed_.notify_all();
  if (link != nullptr) ExchangeAll(*link);
}

void Ranks::ExchangeAll(Link& link) {
  try {
    while (Exchange(link)) {
    }
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    failure_ = fmt::format("{} can send and receive no more: {}", NameOf(rank_), error.what());
  }
  changed_.notify_all();
}

// Once around; false when that was the last time.
bool Ranks::Exchange(Link& link) {
  std::vector<std::pair<size_t, std::string>> out;
  {
    const std::lock_guard lock(mutex_);
    BeatLocked();
    out.swap(outbox_);
    unsent_ += std::exchange(queued_, 0);
  }
  bool busy = !out.empty();
  for (auto& [to, bytes] : out) link.Send(to, std::move(bytes));
  for (size_t i = 0; i < kMostAtOnce; ++i) {
    std::optional<Message> message = link.Receive();
    if (!message) break;
    const std::lock_guard lock(mutex_);
    heard_[message->from] = Clock::now();
    HandleLocked(std::move(*message));
    busy = true;
  }
  const size_t unsent = link.UnsentBytes();
  const bool idle = link.IsIdle();
  std::unique_lock lock(mutex_);
  busy = busy || unsent != unsent_;
  unsent_ = unsent;
  WatchLocked();
  StopLocked();
  if (busy || !failure_.empty()) changed_.notify_all();
  if (stop_ && outbox_.empty() && (!peaceful_ || unsent_ == 0)) {
    lock.unlock();
    if (peaceful_) link.Close();
    if (aborts_) link.Abort(kAbortCode);
    return false;
  }
  const Duration longest = awaited_ > 0 ? kAwaitNap : dealing_ ? kDealNap : kIdleNap;
  nap_ = busy ? kShortNap : std::min(longest, nap_ * 1.5);
  wake_.wait_for(lock, idle ? nap_ : kTransferNap, [&] { return !outbox_.empty(); });
  return true;
}

void Ranks::HandleLocked(Message message) {
  QR_CHECK(!message.bytes.empty());
  const auto kind = static_cast<MessageKind>(message.bytes.front());
  const std::string_view rest = std::string_view(message.bytes).substr(1);
  switch (kind) {
    case MessageKind::kMore:
      begun_[message.from] += rest;
      break;
    case MessageKind::kLast: {
      std::string whole = std::exchange(begun_[message.from], {});
      whole += rest;
      HandleLocked({message.from, std::move(whole)});
      break;
    }
    case MessageKind::kBytes:
      message.bytes.erase(0, 1);
      inbox_[message.from].push_back(std::move(message.bytes));
      break;
    case MessageKind::kEnded:
      ++rounds_ended_;
      break;
    case MessageKind::kFailed:
      if (failure_.empty()) failure_ = fmt::format("{}: {}", NameOf(message.from), rest);
      break;
    case MessageKind::kStopped:
      stopped_.insert(message.from);
      if (rank_ == 0 && !stops_since_ && told_stop_.stop) told_stop_.stop();
      break;
    case MessageKind::kOver:
      rank_ == 0 ? void(gone_.insert(message.from)) : void(over_ = true);
      break;
    case MessageKind::kAlive:
      break;
    default:
      HandleOfRoundLocked(std::move(message));
  }
}

// What comes late, of a round that has ended, is nobody's any more.
void Ranks::HandleOfRoundLocked(Message message) {
  const auto kind = static_cast<MessageKind>(message.bytes.front());
  std::string_view rest = std::string_view(message.bytes).substr(1);
  if (TakeNumber(rest) != round_) return;
  const size_t thread = TakeNumber(rest);
  if (kind == MessageKind::kGive) {
    given_[thread].push_back(TakeNumber(rest));
    return;
  }
  const Asker asker{message.from, thread};
  if (kind == MessageKind::kDone) {
    const size_t unit = TakeNumber(rest);
    message.bytes.erase(0, message.bytes.size() - rest.size());
    results_.push_back({unit, message.from, std::move(message.bytes)});
    --held_[asker];
  } else {
    QR_CHECK(kind == MessageKind::kAsk);
  }
  askers_.push_back(asker);
  GiveLocked();
}

// To who has none; and ahead, so that nobody waits for a message behind each unit, as long as that
// can keep none from who will have none soon.
void Ranks::GiveLocked() {
  while (!units_.empty()) {
    auto asker =
        std::ranges::find_if(askers_, [&](const Asker& other) { return held_[other] == 0; });
    const size_t enough = kEnoughAhead * (held_.size() + own_threads_);
    if (asker == askers_.end() && units_.size() > enough) asker = askers_.begin();
    if (asker == askers_.end()) return;
    SendLocked(asker->rank,
               BeginMessage(MessageKind::kGive, round_, asker->worker, units_.front()));
    ++held_[*asker];
    askers_.erase(asker);
    units_.pop_front();
  }
}

// Rank 0 hears from all, all from rank 0.
void Ranks::BeatLocked() {
  const Clock::time_point now = Clock::now();
  for (size_t other = 0; other < size_ && !stop_; ++other) {
    if (!HearsOfLocked(other) || now - told_[other] < timeout_ / kBeats) continue;
    SendLocked(other, BeginMessage(MessageKind::kAlive));
  }
}

void Ranks::WatchLocked() {
  const Clock::time_point now = Clock::now();
  // Where it is this process that was held, what the others sent comes only now.
  const bool held = now - watched_ > timeout_ / 2;
  watched_ = now;
  if (held) {
    was_held_ = now;
    heard_.assign(size_, now);
  }
  for (size_t other = 0; other < size_ && failure_.empty(); ++other) {
    if (!HearsOfLocked(other) || now - heard_[other] < timeout_) continue;
    lost_ = true;
    failure_ =
        fmt::format("{} has not been heard of for {:.0f} seconds", NameOf(other), timeout_.count());
  }
}

// Who is told to stop tells the others, of whom those that live do the same.
void Ranks::StopLocked() {
  if (stop_said_ || over_) return;
  const Clock::time_point now = Clock::now();
  if (!stops_since_) {
    if (!told_stop_.here() && stopped_.empty()) return;
    stops_since_ = now;
    TellStoppedLocked();
  }
  bool answered = true, silent = false;
  std::vector<std::string> lost;
  for (size_t other = 0; other < size_; ++other) {
    if (!HearsOfLocked(other) || stopped_.contains(other)) continue;
    answered = false;
    // Behind what is long an answer may be late.
    if (heard_[other] >= *stops_since_) continue;
    silent = true;
    // Nothing sent since this process was held, but what had come meanwhile: others gave it up.
    const bool was_given_up = was_held_ && heard_[other] <= *was_held_ + timeout_ / kBeats;
    if (!was_given_up) lost.push_back(NameOf(other));
  }
  if (!answered && now - *stops_since_ < told_stop_.answer) return;
  stop_said_ = true;
  changed_.notify_all();
  first_is_lost_ = rank_ == 1 && silent;
  if (!told_stop_.say || (rank_ != 0 && !first_is_lost_)) return;
  told_stop_.say(lost.empty()
                     ? ""
                     : TeamError(fmt::format("stopped by a signal, as launchers send where "
                                             "a rank is gone: no answer from {}",
                                             fmt::join(lost, ", ")),
                                 "interrupt", kKept)
                           .what());
}

void Ranks::TellStoppedLocked() {
  for (size_t other = 0; other < size_; ++other) {
    if (HearsOfLocked(other)) SendLocked(other, BeginMessage(MessageKind::kStopped));
  }
}

void Ranks::Wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& ready,
                 bool passed_on) {
  while (!ready()) {
    CheckLocked(passed_on);
    changed_.wait_for(lock, kLook);
  }
}

void Ranks::CheckLocked(bool passed_on) const {
  ThrowIfCancelled();
  if (!failure_.empty()) throw TeamError(failure_, "", lost_ ? kKept : "");
  if (over_ && !passed_on) throw TeamError("rank 0 has ended the run", "");
}

void Ranks::SendLocked(size_t to, std::string bytes) {
  QR_CHECK_LE(bytes.size(), kLongestMessage);
  told_[to] = Clock::now();
  queued_ += bytes.size();
  outbox_.emplace_back(to, std::move(bytes));
  wake_.notify_one();
}

// What is long goes in pieces: whoever receives hears of this rank all the while, and memory holds
// few of them.
void Ranks::Send(size_t to, std::string head, std::string_view body) {
  if (head.size() + body.size() <= kLongestMessage) {
    const std::lock_guard lock(mutex_);
    SendLocked(to, head.append(body));
    return;
  }
  const std::lock_guard one_at_a_time(long_mutex_);
  std::unique_lock lock(mutex_);
  std::string piece = BeginMessage(MessageKind::kMore) + head;
  while (!body.empty()) {
    const size_t count = std::min(body.size(), kLongestMessage - piece.size());
    piece += body.substr(0, count);
    body.remove_prefix(count);
    if (body.empty()) piece.front() = static_cast<char>(MessageKind::kLast);
    Wait(lock, [&] { return queued_ + unsent_ < kMostUnderWay; });
    SendLocked(to, std::exchange(piece, BeginMessage(MessageKind::kMore)));
  }
}

std::string Ranks::NextFrom(size_t rank) {
  std::unique_lock lock(mutex_);
  std::deque<std::string>& inbox = inbox_[rank];
  Wait(
      lock, [&] { return !inbox.empty(); }, rank != 0);
  std::string bytes = std::move(inbox.front());
  inbox.pop_front();
  return bytes;
}

std::string Ranks::NameOf(size_t rank) const {
  return rank < hosts_.size() ? fmt::format("rank {} on {}", rank, hosts_[rank])
                              : fmt::format("rank {}", rank);
}

void Ranks::Fail(const std::string& why) {
  const std::lock_guard lock(mutex_);
  SendLocked(0, BeginMessage(MessageKind::kFailed) + why.substr(0, kLongestMessage / 2));
}

std::string Ranks::AwaitEnd(bool complete) {
  std::unique_lock lock(mutex_);
  if (rank_ == 0) {
    for (size_t other = 1; complete && other < size_; ++other)
      SendLocked(other, BeginMessage(MessageKind::kOver));
    while (complete && failure_.empty() && gone_.size() + 1 < size_) changed_.wait_for(lock, kLook);
    while (!complete && CancelRequested() && failure_.empty() && !stop_said_)
      changed_.wait_for(lock, kLook);
    return failure_.empty() ? "" : TeamError(failure_, "", complete ? kComplete : kKept).what();
  }
  const Duration patience = rank_ > 1 ? timeout_ * kLaterPatience : timeout_;
  while (!over_ && (failure_.empty() || Clock::now() - heard_[0] < patience))
    changed_.wait_for(lock, kLook);
  if (over_) SendLocked(0, BeginMessage(MessageKind::kOver));
  return over_ || first_is_lost_ ? "" : TeamError(failure_, "", lost_ ? kKept : "").what();
}

void Ranks::End(bool complete) {
  {
    const std::lock_guard lock(mutex_);
    peaceful_ = rank_ == 0 ? complete : over_;
    aborts_ = !peaceful_;
    // What the launcher does to the others then is no wish of its own.
    if (aborts_) TellStoppedLocked();
    stop_ = true;
  }
  thread_.join();
}

}  // namespace quantref
