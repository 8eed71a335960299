#include "eval/support/run_eta.h"

#include <catch2/catch.hpp>

namespace quantref {
namespace {

using Kind = RunEta::Kind;

RunEta Planned() {
  RunEta eta;
  eta.Plan({{Kind::kQuantize, 10}, {Kind::kQuantize, 20}, {Kind::kMeasure, 100}}, 2);
  return eta;
}

TEST_CASE("run_eta: all stages count, and what they take corrects the rest of their kind") {
  RunEta eta = Planned();
  CHECK(eta.SecondsLeft(0) == 130.0);
  eta.Begin(Kind::kQuantize, 1000);
  CHECK(eta.SecondsLeft(1000) == 130.0);
  eta.Advance(1, 2);
  CHECK(eta.SecondsLeft(1010) == 130.0);  // half of the first took 10: another 10, and the others
  eta.End(1020);
  CHECK(eta.SecondsLeft(1020) == 140.0);  // twice as long as planned: so will the second
  CHECK(eta.MoreToCome());
  eta.Begin(Kind::kQuantize, 1020);
  eta.End(1060);
  eta.Begin(Kind::kMeasure, 1060);
  CHECK_FALSE(eta.MoreToCome());
  eta.Advance(1, 2);
  CHECK(eta.SecondsLeft(1070) == 10.0);
  eta.End(1080);
  CHECK(eta.SecondsLeft(1080) == 0.0);
}

TEST_CASE("run_eta: cells that are nowhere planned are expected to be like those that are") {
  RunEta eta = Planned();
  eta.SetUnplanned(4);
  CHECK(eta.SecondsLeft(0) == 130.0 + 4 * 65);
  eta.SetUnplanned(0);
  CHECK(eta.SecondsLeft(0) == 130.0);
}

TEST_CASE("run_eta: a stage that could not begin is left out") {
  RunEta eta = Planned();
  eta.Begin(Kind::kMeasure, 0);
  CHECK(eta.SecondsLeft(0) == 100.0);
  CHECK_FALSE(eta.MoreToCome());
}

TEST_CASE("run_eta: what a resumed run had done before is no pace") {
  RunEta eta = Planned();
  eta.Begin(Kind::kMeasure, 0);
  eta.Advance(51, 100);  // 50 of them were in the journal
  eta.Advance(75, 100);
  CHECK(eta.SecondsLeft(25) == 25.0);
}

TEST_CASE("run_eta: without a plan nothing is foretold") {
  RunEta eta;
  eta.Begin(Kind::kSpeed, 0);
  eta.Advance(1, 2);
  CHECK_FALSE(eta.SecondsLeft(1));
}

}  // namespace
}  // namespace quantref
