#pragma once

#include <functional>
#include <span>
#include <vector>

#include "eval/speed/timing.h"
#include "harness/base/rng.h"

namespace quantref {

// One of several things that are timed against each other.
struct Contender {
  std::function<void()> run;
  size_t repeats = 1;  // calls in a sample
  size_t samples = 1;  // at most one a round
  bool warm = false;   // a call that is not timed goes before each sample
};

// Rounds in which each contender takes one sample, in an order drawn anew, as long as it has some
// left: what slows the machine for a while then slows all of them. before_sample may throw to stop.
std::vector<Samples> Interleave(std::span<const Contender> contenders, size_t rounds, Rng& rng,
                                const std::function<void()>& before_sample);

double SecondsOf(const std::function<void()>& run);  // one call

// Progress in steps.
class Steps {
 public:
  using Report = std::function<void(size_t done, size_t total, std::string_view what)>;
  Steps(Report report, size_t total) : report_(std::move(report)), total_(total) {}
  void Look(std::string_view what) const {
    if (report_) report_(done_, total_, what);
  }
  void Done(size_t steps, std::string_view what) {
    done_ += steps;
    Look(what);
  }

 private:
  Report report_;
  size_t total_, done_ = 0;
};

}  // namespace quantref
