#include "harness/base/free_cores.h"

#include <sched.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <thread>

namespace quantref {
namespace {

// How many depends on what else is at work: of a busy machine hardly any of one.
TEST_CASE("free_cores: two threads have a share of the cores", "[free_cores]") {
  const double cores = MeasureFreeCores();
  CHECK(cores > 0);
  CHECK(std::isfinite(cores));
}

TEST_CASE("free_cores: one allowed CPU is one core, and the caller stays where it was",
          "[free_cores]") {
  std::jthread([] {
    cpu_set_t before, one, after;
    REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
      if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
    }
    MeasureFreeCores();
    REQUIRE(sched_getaffinity(0, sizeof(after), &after) == 0);
    CHECK(CPU_EQUAL(&before, &after));
    REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
    CHECK(MeasureFreeCores() == 1);
  }).join();
}

}  // namespace
}  // namespace quantref
