#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eval/accuracy/subject.h"
#include "harness/base/check.h"

namespace quantref::testing {

// A subject that is no transformer: it expects every token to be followed by the next one, so
// strongly.
class Counter : public Subject {
 public:
  static constexpr size_t kWords = 11;

  explicit Counter(float strength, size_t context = 64) : strength_(strength), context_(context) {}
  const std::string& name() const override { return name_; }
  size_t vocabulary() const override { return kWords; }
  size_t context() const override { return context_; }
  std::unique_ptr<Reader> MakeReader(std::shared_ptr<Memory>&, Team* team) const override {
    const std::lock_guard lock(mutex_);
    teams_.push_back(TeamThreads(team));
    return std::make_unique<CountingReader>(strength_);
  }
  std::unique_ptr<Decoder> MakeDecoder(size_t tokens, Team*) const override {
    return std::make_unique<CountingDecoder>(*this, tokens);
  }

  // Of the threads that readers were made for, each reader's, in rising order.
  std::vector<size_t> Teams() const {
    std::sort(teams_.begin(), teams_.end());
    return std::exchange(teams_, {});
  }
  // The lengths of the texts that decoders extended, and of what they put there each time.
  const std::vector<std::pair<size_t, size_t>>& extended() const { return extended_; }

 private:
  struct CountingReader : Reader {
    explicit CountingReader(float of) : strength(of) {}
    void Read(std::span<const uint32_t> window) override {
      ids.assign(window.begin(), window.end());
    }
    void Logits(size_t first, MatrixView<float> logits) override {
      for (size_t t = 0; t < logits.rows(); ++t) {
        for (size_t v = 0; v < kWords; ++v)
          logits(t, v) = v == (ids[first + t] + 1) % kWords ? strength : 0;
      }
    }
    float strength;
    std::vector<uint32_t> ids;
  };
  struct CountingDecoder : Decoder {
    CountingDecoder(const Counter& of, size_t most) : counter(of), room(most) {}
    void Extend(size_t kept, std::span<const uint32_t> ids) override {
      QR_CHECK_LE(kept, tokens);
      tokens = kept + ids.size();
      QR_CHECK_LE(tokens, room);
      for (const uint32_t id : ids) QR_CHECK_LT(id, kWords);
      counter.extended_.push_back({kept, ids.size()});
    }
    const Counter& counter;
    const size_t room;
    size_t tokens = 0;
  };

  const float strength_;
  const size_t context_;
  const std::string name_ = "counter";
  mutable std::mutex mutex_;
  mutable std::vector<size_t> teams_;
  mutable std::vector<std::pair<size_t, size_t>> extended_;
};

}  // namespace quantref::testing
