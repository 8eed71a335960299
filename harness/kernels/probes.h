#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "harness/base/team.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/probe_kernels.h"

namespace quantref {

// What the machine gives in this minute, measured by the loops of probe_kernels.h: what measured
// speeds are set against.

const ProbeOps& ProbesFor(Isa isa);

// Memory for the reading probe, in huge pages where the system gives them, and its sum.
class ProbeBuffer {
 public:
  explicit ProbeBuffer(size_t bytes);  // rounded up to whole blocks of kProbeBlock
  std::span<const uint8_t> bytes() const { return {data_.get(), size_}; }
  // Of the 64-bit words of all of it, and of so many blocks, which are alike.
  uint64_t sum() const { return SumOf(size_ / kProbeBlock); }
  uint64_t SumOf(size_t blocks) const { return block_sum_ * blocks; }

 private:
  size_t size_;
  std::shared_ptr<uint8_t> data_;
  uint64_t block_sum_ = 0;
};

// Each takes some ten milliseconds on the threads of the team (null: the calling one) and checks
// the sums that come out: a loop that computes something else is a bug.
double ReadRate(const ProbeBuffer& buffer, Team* team, Isa isa = ActiveIsa());  // bytes/s
// The same in stretches of so many bytes, whole blocks of it, from block `at` on and round again,
// which is left where the next one begins: what was read is as long ago as with whole rounds.
double ReadRateOfStretches(const ProbeBuffer& buffer, size_t stretch, size_t& at, Team* team,
                           Isa isa = ActiveIsa());
double FmaRate(Team* team, Isa isa = ActiveIsa());  // FLOP/s
double DotRate(Team* team, Isa isa = ActiveIsa());  // operations/s

// What limits are read with: more than the caches hold, and half of the largest. Filling it takes
// 200 ms.
struct LimitBuffers {
  LimitBuffers();
  static size_t Bytes();  // of both
  ProbeBuffer memory, cache;
};

// Readings of all limits, gathered over a run.
class LimitReadings {
 public:
  // So many readings of each on the threads of the team; some 50 ms each.
  void Take(const LimitBuffers& buffers, Team* team, size_t readings, Isa isa = ActiveIsa());
  // Medians, as the rates above; at least one Take before.
  double read_memory() const;
  double read_cache() const;
  double fma() const;
  double dot() const;

 private:
  std::vector<double> read_memory_, read_cache_, fma_, dot_;
  size_t at_ = 0;  // in the memory
};

// The size of the largest cache, in bytes; 32 MiB where the system does not say.
size_t LargestCacheBytes();

}  // namespace quantref
