#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "harness/base/error.h"
#include "harness/method/sample_share.h"

// Processes that share samples, as threads of a test. Only tests include this.

namespace quantref::testing {

class SampleMail {
 public:
  void Send(size_t from, size_t to, std::string bytes) {
    const std::lock_guard lock(mutex_);
    boxes_[{from, to}].push_back(std::move(bytes));
    arrived_.notify_all();
  }
  std::string Receive(size_t from, size_t to) {
    std::unique_lock lock(mutex_);
    std::deque<std::string>& box = boxes_[{from, to}];
    arrived_.wait(lock, [&] { return !box.empty() || broken_ || ended_.contains(from); });
    if (box.empty()) throw std::runtime_error("another one is lost");
    std::string bytes = std::move(box.front());
    box.pop_front();
    return bytes;
  }
  void Break() {
    const std::lock_guard lock(mutex_);
    broken_ = true;
    arrived_.notify_all();
  }
  // One sends nothing more.
  void End(size_t process) {
    const std::lock_guard lock(mutex_);
    ended_.insert(process);
    arrived_.notify_all();
  }
  bool empty() const {
    for (const auto& [way, box] : boxes_) {
      if (!box.empty()) return false;
    }
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::pair<size_t, size_t>, std::deque<std::string>> boxes_;
  std::set<size_t> ended_;
  bool broken_ = false;
};

class MailedShare final : public SampleShare {
 public:
  MailedShare(SampleMail& mail, size_t rank, size_t size) : mail_(mail), rank_(rank), size_(size) {}
  size_t rank() const override { return rank_; }
  size_t size() const override { return size_; }
  void Send(size_t to, std::string bytes) override { mail_.Send(rank_, to, std::move(bytes)); }
  std::string Receive(size_t from) override { return mail_.Receive(from, rank_); }
  void TakeStep(const std::function<void()>& step) override {
    std::string own, first;
    try {
      step();
    } catch (const Error& error) {
      own = error.what();
    }
    for (size_t other = 0; other < size_; ++other) {
      if (other != rank_) Send(other, own);
    }
    for (size_t other = 0; other < size_; ++other) {
      const std::string said = other == rank_ ? own : Receive(other);
      if (first.empty()) first = said;
    }
    if (!first.empty()) throw Error(first, "");
  }

 private:
  SampleMail& mail_;
  const size_t rank_, size_;
};

// Runs body(share) in so many processes. Throws what the first of them throws, and where something
// was sent that nobody received.
inline void ShareSamples(size_t processes, const std::function<void(SampleShare&)>& body) {
  SampleMail mail;
  std::vector<std::exception_ptr> errors(processes);
  {
    std::vector<std::jthread> threads;
    for (size_t rank = 0; rank < processes; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          MailedShare share(mail, rank, processes);
          body(share);
          mail.End(rank);
        } catch (...) {
          errors[rank] = std::current_exception();
          mail.Break();
        }
      });
    }
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  if (!mail.empty()) throw std::runtime_error("something was sent that nobody received");
}

}  // namespace quantref::testing
