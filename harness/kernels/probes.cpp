#include "harness/kernels/probes.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <vector>

#include "harness/base/check.h"
#include "harness/base/huge_memory.h"
#include "harness/base/rng.h"
#include "harness/kernels/table_for.h"

namespace quantref {
namespace {

constexpr double kSeconds = 0.01;  // of a probe, at least
constexpr size_t kStretches = 8;   // of the memory, each as large as most caches

// Calls once() in a row until kSeconds have passed: the seconds of one call.
template <typename Once>
double SecondsEach(const Once& once) {
  using Clock = std::chrono::steady_clock;
  once();  // helpers awake, clocks up
  const Clock::time_point begin = Clock::now();
  size_t calls = 0;
  double seconds = 0;
  do {
    once();
    ++calls;
    seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  } while (seconds < kSeconds);
  return seconds / static_cast<double>(calls);
}

// Threads take slices as they become free, as they do of a product.
size_t Slices(const Team* team) { return TeamThreads(team) == 1 ? 1 : 8 * TeamThreads(team); }

double Median(std::vector<double> values) {
  QR_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

const ProbeOps& ProbesFor(Isa isa) {
  return TableFor(isa, kScalarProbes, kAvx2Probes, kAvx512Probes, kAmxProbes);
}

ProbeBuffer::ProbeBuffer(size_t bytes)
    : size_((bytes + kProbeBlock - 1) / kProbeBlock * kProbeBlock), data_(AllocateHuge(size_)) {
  uint8_t* data = data_.get();
  Rng rng(1);
  uint64_t block[kProbeBlock / sizeof(uint64_t)];
  for (uint64_t& word : block) block_sum_ += word = rng.Next();
  for (size_t at = 0; at < size_; at += kProbeBlock) std::memcpy(data + at, block, kProbeBlock);
}

double ReadRate(const ProbeBuffer& buffer, Team* team, Isa isa) {
  size_t at = 0;
  return ReadRateOfStretches(buffer, buffer.bytes().size(), at, team, isa);
}

double ReadRateOfStretches(const ProbeBuffer& buffer, size_t stretch, size_t& at, Team* team,
                           Isa isa) {
  const ProbeOps& ops = ProbesFor(isa);
  const size_t all = buffer.bytes().size() / kProbeBlock, blocks = stretch / kProbeBlock;
  QR_CHECK(blocks > 0 && blocks <= all);
  const size_t slices = Slices(team);
  std::vector<uint64_t> sums(slices);
  const auto read = [&](size_t slice, size_t) {
    const size_t first = slice * blocks / slices, end = (slice + 1) * blocks / slices;
    sums[slice] =
        ops.read(buffer.bytes().data() + (at + first) * kProbeBlock, (end - first) * kProbeBlock);
  };
  const double seconds = SecondsEach([&] {
    if (at + blocks > all) at = 0;
    RunOn(team, slices, read);
    at += blocks;
    uint64_t sum = 0;
    for (const uint64_t part : sums) sum += part;
    QR_CHECK_EQ(sum, buffer.SumOf(blocks));
  });
  return static_cast<double>(blocks * kProbeBlock) / seconds;
}

double FmaRate(Team* team, Isa isa) {
  const ProbeOps& ops = ProbesFor(isa);
  constexpr size_t kRounds = 20000;
  const size_t slices = Slices(team);
  const double expected = static_cast<double>(kRounds * (ops.fma_operations / 2));
  const auto multiply = [&](size_t, size_t) { QR_CHECK_EQ(ops.fma(kRounds, 1, 1), expected); };
  return static_cast<double>(kRounds * ops.fma_operations * slices) /
         SecondsEach([&] { RunOn(team, slices, multiply); });
}

double DotRate(Team* team, Isa isa) {
  const ProbeOps& ops = ProbesFor(isa);
  const size_t rounds = (size_t{1} << 26) / ops.dot_operations, slices = Slices(team);
  constexpr uint8_t kCode = 3;
  constexpr int8_t kActivation = -5;
  const auto expected =
      static_cast<int64_t>(rounds * (ops.dot_operations / 2)) * kCode * kActivation;
  const auto multiply = [&](size_t, size_t) {
    QR_CHECK_EQ(ops.dot(rounds, kCode, kActivation), expected);
  };
  return static_cast<double>(rounds * ops.dot_operations * slices) /
         SecondsEach([&] { RunOn(team, slices, multiply); });
}

namespace {

size_t MemoryProbeBytes() { return std::max(size_t{256} << 20, 2 * LargestCacheBytes()); }
size_t CacheProbeBytes() { return std::min(size_t{24} << 20, LargestCacheBytes() / 2); }

}  // namespace

LimitBuffers::LimitBuffers() : memory(MemoryProbeBytes()), cache(CacheProbeBytes()) {}

size_t LimitBuffers::Bytes() { return MemoryProbeBytes() + CacheProbeBytes(); }

void LimitReadings::Take(const LimitBuffers& buffers, Team* team, size_t readings, Isa isa) {
  for (size_t i = 0; i < readings; ++i) {
    read_memory_.push_back(ReadRateOfStretches(
        buffers.memory, buffers.memory.bytes().size() / kStretches, at_, team, isa));
    read_cache_.push_back(ReadRate(buffers.cache, team, isa));
    fma_.push_back(FmaRate(team, isa));
    dot_.push_back(DotRate(team, isa));
  }
}

double LimitReadings::read_memory() const { return Median(read_memory_); }
double LimitReadings::read_cache() const { return Median(read_cache_); }
double LimitReadings::fma() const { return Median(fma_); }
double LimitReadings::dot() const { return Median(dot_); }

size_t LargestCacheBytes() {
  for (const int level : {_SC_LEVEL4_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE, _SC_LEVEL2_CACHE_SIZE}) {
    const long bytes = sysconf(level);
    if (bytes > 0) return static_cast<size_t>(bytes);
  }
  return size_t{32} << 20;
}

}  // namespace quantref
