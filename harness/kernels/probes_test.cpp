#include "harness/kernels/probes.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <string>

#include "harness/base/matrix.h"
#include "harness/base/rng.h"
#include "harness/kernels/kernels_testing.h"

namespace quantref {
namespace {

using testing::AvailableIsas;

TEST_CASE("probes: every table's sums are those of its arguments", "[probes][any_isa]") {
  Matrix<uint8_t> data(1, 3 * kProbeBlock);
  Rng rng(1);
  uint64_t sum = 0;
  for (size_t i = 0; i < data.cols() / 8; ++i) {
    const uint64_t word = rng.Next();
    std::memcpy(data.data() + 8 * i, &word, 8);
    if (i < 2 * kProbeBlock / 8) sum += word;
  }
  for (const Isa isa : AvailableIsas()) {
    INFO(IsaName(isa));
    const ProbeOps& ops = ProbesFor(isa);
    CHECK(ops.name == std::string(IsaName(isa)));
    CHECK(ops.read(data.data(), 2 * kProbeBlock) == sum);
    CHECK(ops.read(data.data(), 0) == 0);
    // One word more or less, anywhere, changes it.
    for (const size_t at : {size_t{0}, kProbeBlock - 1, kProbeBlock, 2 * kProbeBlock - 1}) {
      data.data()[at] ^= 1;
      CHECK(ops.read(data.data(), 2 * kProbeBlock) != sum);
      data.data()[at] ^= 1;
    }
    const double chains = static_cast<double>(ops.fma_operations / 2);
    CHECK(ops.fma(0, 1, 1) == 0);
    CHECK(ops.fma(1000, 1, 1) == 1000 * chains);
    CHECK(ops.fma(3, 2, 1) == 7 * chains);  // ((1) 2 + 1) 2 + 1
    const int64_t products = static_cast<int64_t>(ops.dot_operations / 2);
    CHECK(ops.dot(0, 1, 1) == 0);
    CHECK(ops.dot(100, 15, -128) == -100 * 15 * 128 * products);
    CHECK(ops.dot(100, 127, 127) == 100 * 127 * 127 * products);
    CHECK(ops.dot(1, 255, 1) == 255 * products);
  }
}

TEST_CASE("probes: as many chains as hide a multiply-add's latency", "[probes]") {
  // 4 cycles at 2 a cycle: 8 vectors and more.
  CHECK(kAvx2Probes.fma_operations >= 2 * 10 * 8);
  CHECK(kAvx512Probes.fma_operations >= 2 * 10 * 16);
}

// More work takes more time: rates of a loop that was optimised away would not stand this.
TEST_CASE("probes: rates are positive and of this machine's order", "[probes][any_isa]") {
  Team two(2);
  const ProbeBuffer buffer(kProbeBlock * 100 + 1);
  CHECK(buffer.bytes().size() == kProbeBlock * 101);
  for (const Isa isa : AvailableIsas()) {
    INFO(IsaName(isa));
    for (Team* team : {static_cast<Team*>(nullptr), &two}) {
      size_t at = 99;  // where no stretch of three blocks begins
      for (const double rate : {ReadRate(buffer, team, isa),
                                ReadRateOfStretches(buffer, 3 * kProbeBlock, at, team, isa),
                                FmaRate(team, isa), DotRate(team, isa)}) {
        CHECK(rate > 1e7);
        CHECK(rate < 1e14);
      }
      CHECK(at % 3 == 0);  // from the beginning
    }
  }
  CHECK(LargestCacheBytes() > 0);
}

TEST_CASE("probes: readings are gathered", "[probes]") {
  LimitReadings readings;
  readings.Take(LimitBuffers(), nullptr, 2);
  for (const double rate :
       {readings.read_memory(), readings.read_cache(), readings.fma(), readings.dot()})
    CHECK(rate > 1e7);
}

}  // namespace
}  // namespace quantref
