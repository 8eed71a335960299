#include "harness/base/cancel.h"

#include <catch2/catch.hpp>
#include <string>

#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/base/sha256.h"
#include "harness/base/team.h"

namespace quantref {
namespace {

struct Uncancelled {
  ~Uncancelled() { SetCancelRequested(false); }
};

TEST_CASE("cancel: work that is dealt out ends between two of its indices", "[cancel]") {
  const Uncancelled afterwards;
  size_t last = 0;
  const auto body = [&](size_t index, size_t) {
    last = index;
    if (index == 3) SetCancelRequested(true);
  };
  Team team(1);
  const auto parallel = [&] { ParallelFor(100, 1, body); };
  const auto on_team = [&] { team.Run(100, body); };
  const auto alone = [&] { RunOn(nullptr, 100, body); };
  CHECK_THROWS_AS(parallel(), Interrupted);
  CHECK(last == 3);
  SetCancelRequested(false);
  CHECK_THROWS_AS(on_team(), Interrupted);
  CHECK(last == 3);
  SetCancelRequested(false);
  CHECK_THROWS_AS(alone(), Interrupted);
  CHECK(last == 3);
}

TEST_CASE("cancel: helpers too take no more, and the team works on afterwards", "[cancel]") {
  const Uncancelled afterwards;
  Team team(3);
  SetCancelRequested(true);
  const auto run = [&] { team.Run(1000, [](size_t, size_t) { FAIL("called"); }); };
  CHECK_THROWS_AS(run(), Interrupted);
  const auto parallel = [&] { ParallelFor(1000, 3, [](size_t, size_t) { FAIL("called"); }); };
  CHECK_THROWS_AS(parallel(), Interrupted);
  SetCancelRequested(false);
  std::atomic<size_t> calls{0};
  team.Run(1000, [&](size_t, size_t) { ++calls; });
  CHECK(calls == 1000);
}

TEST_CASE("cancel: hashing ends between two of its steps", "[cancel]") {
  const Uncancelled afterwards;
  const std::string bytes(100, 'x');
  SetCancelRequested(true);
  CHECK_THROWS_AS(Sha256Hex(bytes), Interrupted);
}

}  // namespace
}  // namespace quantref
