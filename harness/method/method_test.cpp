#include "harness/method/method.h"

#include <array>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "harness/quant/grid.h"

namespace quantref {
namespace {

constexpr std::array<Knob, 2> kKnobs = {{
    {"size", "a count", Knob::Kind::kCount, 5, 1, 10},
    {"gram", "ask for Gram matrices", Knob::Kind::kFlag, 0},
}};

// A rounder that asks for what it is told to, and for Gram matrices where its knob says so.
class FakeRounder final : public Rounder {
 public:
  FakeRounder(std::string_view name, const DataNeeds& needs) : name_(name), needs_(needs) {}
  std::string_view name() const override { return name_; }
  std::string_view summary() const override { return "for this test"; }
  std::span<const Knob> knobs() const override { return kKnobs; }
  DataNeeds needs(const Knobs& knobs) const override {
    return needs_ | DataNeeds{.gram = knobs.Flag("gram")};
  }
  Rounded Round(const RoundInput& input) const override {
    return {RoundToNearest(input.weights, input.scheme)};
  }

 private:
  std::string_view name_;
  DataNeeds needs_;
};

class FakeTransform final : public Transform {
 public:
  FakeTransform(std::string_view name, const DataNeeds& needs) : name_(name), needs_(needs) {}
  std::string_view name() const override { return name_; }
  std::string_view summary() const override { return "for this test"; }
  DataNeeds needs(const Knobs&) const override { return needs_; }
  void Apply(CalibratedBlock&, const Knobs&, size_t) const override {}

 private:
  std::string_view name_;
  DataNeeds needs_;
};

// The needs that are asked for, by their initials.
std::string Letters(const DataNeeds& needs) {
  return std::string(needs.channel_max ? "x" : "") + (needs.channel_mean ? "m" : "") +
         (needs.gram ? "g" : "") + (needs.kept > 0 ? "k" : "") + (needs.true_sequential ? "s" : "");
}

PlannedLinear Planned(const std::string& rounder) { return {{"w", 1, 1}, WeightScheme{}, rounder}; }

const FakeRounder kPlain("plain", {});
const FakeRounder kMax("max", {.channel_max = true});
const FakeRounder kSequential("sequential", {.kept = 1, .true_sequential = true});
const FakeTransform kMean("mean", {.channel_mean = true});
const FakeTransform kKeeping("keeping", {.kept = 1});

Method WithRounder(const Rounder& rounder) {
  Method method;
  method.rounder = &rounder;
  return method;
}

TEST_CASE("method: a linear's rounder is the general one or the one its override names",
          "[method]") {
  Method method = WithRounder(kPlain);
  method.other_rounders = {&kMax, &kSequential, &kMax};  // overrides may name one twice
  CHECK(&method.RounderFor(Planned("")) == &kPlain);
  CHECK(&method.RounderFor(Planned("max")) == &kMax);
  CHECK(&method.RounderFor(Planned("sequential")) == &kSequential);
}

TEST_CASE("method: knobs are the defaults where none were set", "[method]") {
  Method method = WithRounder(kPlain);
  CHECK(method.KnobsOf(kPlain) == Knobs(kKnobs));
  CHECK(method.KnobsOf(kPlain).Count("size") == 5);
  Knobs knobs(kKnobs);
  knobs.Set("size", 9);
  method.knobs["plain"] = knobs;
  CHECK(method.KnobsOf(kPlain).Count("size") == 9);
  CHECK(method.KnobsOf(kMax).Count("size") == 5);  // another plugin's
  CHECK(method.KnobsOf(kMean).declared().empty());
}

TEST_CASE("method: the transforms' needs are joined", "[method]") {
  Method method = WithRounder(kMax);
  CHECK(Letters(method.TransformNeeds()).empty());
  method.transforms = {&kMean};
  CHECK(Letters(method.TransformNeeds()) == "m");
  method.transforms = {&kMean, &kKeeping};
  CHECK(Letters(method.TransformNeeds()) == "mk");
}

TEST_CASE("method: needs of the rounders that the plan uses, and of no other", "[method]") {
  Method method = WithRounder(kMax);
  method.other_rounders = {&kSequential, &kPlain};
  PlannedLinear kept = Planned("sequential");
  kept.scheme.reset();
  CHECK(Letters(method.RounderNeeds({})).empty());
  CHECK(Letters(method.RounderNeeds({Planned("")})) == "x");
  CHECK(Letters(method.RounderNeeds({Planned("plain"), kept})).empty());
  CHECK(Letters(method.RounderNeeds({Planned("sequential")})) == "ks");
  CHECK(Letters(method.RounderNeeds({Planned("sequential"), Planned("plain"), Planned("")})) ==
        "xks");
}

TEST_CASE("method: needs depend on the knobs that were set", "[method]") {
  Method method = WithRounder(kPlain);
  CHECK(Letters(method.RounderNeeds({Planned("")})).empty());
  Knobs knobs(kKnobs);
  knobs.Set("gram", 1);
  method.knobs["plain"] = knobs;
  CHECK(Letters(method.RounderNeeds({Planned("")})) == "g");
}

TEST_CASE("method: all needs together, with those of static activation scales", "[method]") {
  Method method = WithRounder(kSequential);
  method.transforms = {&kMean};
  CHECK(Letters(method.Needs({Planned("")})) == "mks");
  method.activations = ActivationScheme{};
  CHECK(Letters(method.Needs({Planned("")})) == "mks");
  method.activations = ActivationScheme{.bits = 8, .per_token = false, .dynamic = false};
  CHECK(Letters(method.Needs({Planned("")})) == "xmks");
  // A rounder that asks for the maxima gets them whatever the activations are.
  Method other = WithRounder(kMax);
  CHECK(Letters(other.Needs({Planned("")})) == "x");
  other.activations = ActivationScheme{};
  CHECK(Letters(other.Needs({Planned("")})) == "x");
}

}  // namespace
}  // namespace quantref
