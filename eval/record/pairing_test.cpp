#include "eval/record/pairing.h"

#include <catch2/catch.hpp>

#include "eval/record/free_cores.h"
#include "eval/testing/sample_record.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::SampleRecord;
using testing::ShiftNll;
using testing::Stored;

// So many nats a token in every window, give or take `noise` of alternating sign.
StoredRecord Shifted(double nats, double noise) {
  Json record = SampleRecord();
  ShiftNll(record, nats, noise);
  return Stored(record);
}

// The first window of the reference, of 100 tokens, so many nats a token off.
Json OffReference(double nats) {
  Json record = SampleRecord();
  Json& first = record["accuracy"]["reference_window_nll"][0];
  first = first.get<double>() + 100 * nats;
  return record;
}

TEST_CASE("pairing: the first difference of two records' windows") {
  Json other = SampleRecord();
  CHECK_FALSE(OtherWindows(Stored(SampleRecord()), Stored(other)));
  other["protocol"]["window_scored"][3] = 99;
  CHECK(OtherWindows(Stored(SampleRecord()), Stored(other)) ==
        Change{"protocol.window_scored[3]", "100", "99"});
}

TEST_CASE("pairing: a reference has equal bits on one machine, elsewhere but for rounding") {
  const StoredRecord record = Stored(SampleRecord());
  CHECK_FALSE(OtherReference(record, record));
  const auto change = OtherReference(record, Stored(OffReference(1e-9)));
  REQUIRE(change);
  CHECK(change->window == 0);
  CHECK_FALSE(change->elsewhere);
  Json elsewhere = OffReference(0.9e-5);
  elsewhere["environment"]["isa"] = "avx512";
  CHECK_FALSE(OtherReference(record, Stored(elsewhere)));
  elsewhere = OffReference(1.1e-5);
  elsewhere["environment"]["isa"] = "avx512";
  CHECK(OtherReference(record, Stored(elsewhere)));
}

TEST_CASE("pairing: what may be no difference") {
  CHECK(HoldsNoDifference({0, -1, 1}));
  CHECK_FALSE(HoldsNoDifference({1, 0.5, 1.5}));
  CHECK(HoldsNoDifference({5e-6, 1e-6, 9e-6}));  // rounding
  CHECK_FALSE(HoldsNoDifference({9e-6, 1e-6, 1.1e-5}));
  CHECK(AreTied(Shifted(0.01, 0), Shifted(0.01, 0)));
  CHECK(AreTied(Shifted(0.01, 0), Shifted(0.0101, 0.01)));
  CHECK(AreTied(Shifted(0.01, 0), Shifted(0.010001, 0)));
  CHECK_FALSE(AreTied(Shifted(0.01, 0), Shifted(0.02, 0.001)));
  Json fewer = SampleRecord();
  fewer["protocol"]["window_scored"][3] = 99;
  CHECK_FALSE(AreTied(Stored(SampleRecord()), Stored(fewer)));  // nothing to pair
}

TEST_CASE("free cores: busy without two cores for two threads, or where cores come and go") {
  CHECK_FALSE(Busy({2, 2}, 2));
  CHECK_FALSE(Busy({1.8, 1.8}, 2));
  CHECK(Busy({1.79, 1.8}, 2));
  CHECK(Busy({1.9, 1.75}, 2));
  CHECK_FALSE(Busy({1.0, 1.05}, 1));
  CHECK(Busy({1.0, 1.2}, 1));
  CHECK(Busy({2.0, 1.79}, 1));
  CHECK_FALSE(Busy({2.0, 1.81}, 1));
}

}  // namespace
}  // namespace quantref
