#include "harness/train/learned_scales.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "harness/quant/format.h"
#include "harness/quant/grid.h"
#include "harness/train/train_testing.h"

namespace quantref {
namespace {

std::vector<WeightScheme> SchemesWithScales() {
  std::vector<WeightScheme> schemes;
  for (const Granularity granularity :
       {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
    WeightScheme scheme;
    scheme.bits = 2 + static_cast<int>(schemes.size() % 3);
    scheme.granularity = granularity;
    scheme.group = 5;  // the last group of a row is shorter
    schemes.push_back(scheme);
    scheme.symmetric = true;
    schemes.push_back(scheme);
  }
  return schemes;
}

Matrix<float> RoundedBy(const LearnedScales& learned, const Matrix<float>& weights,
                        const WeightScheme& scheme) {
  Matrix<float> rounded(weights.rows(), weights.cols());
  RoundByScales(weights.view(), scheme, learned, rounded.view());
  return rounded;
}

TEST_CASE("learned scales begin as rounding to nearest, and codes are those of what was trained") {
  const Matrix<float> weights = testing::NormalMatrix(7, 13, 1);
  for (const WeightScheme& scheme : SchemesWithScales()) {
    INFO(SchemeName(scheme));
    LearnedScales learned = MakeLearnedScales("m", weights.view(), scheme);
    Matrix<float> nearest(7, 13);
    RoundValues(weights.view(), scheme, {}, nearest.view());
    CHECK(testing::SameBits(RoundedBy(learned, weights, scheme).view(), nearest.view()));
    const size_t scales = learned.scale.value.rows() * learned.scale.value.cols();
    for (size_t i = 0; i < scales; ++i) learned.scale.value.data()[i] *= 0.8f;
    learned.scale.value.data()[0] = -1;  // the least that there is
    const Matrix<float> rounded = RoundedBy(learned, weights, scheme);
    CHECK_FALSE(testing::SameBits(rounded.view(), nearest.view()));
    const PackedMatrix packed = PackByScales(weights.view(), scheme, learned);
    std::vector<float> row(13);
    for (size_t r = 0; r < 7; ++r) {
      packed.DecodeRow(r, row);
      for (size_t c = 0; c < 13; ++c) CHECK(row[c] == rounded(r, c));
    }
  }
}

TEST_CASE("LSQ's gradient, worked by hand") {
  WeightScheme scheme;  // codes -3 to 3 times the scale
  scheme.bits = 3;
  scheme.symmetric = true;
  scheme.granularity = Granularity::kRow;
  Matrix<float> weights(1, 4), gradient(1, 4);
  LearnedScales learned = MakeLearnedScales("m", testing::NormalMatrix(1, 4, 1).view(), scheme);
  learned.exponent = 0;
  learned.scale.value(0, 0) = 0.5f;
  const float w[] = {0.6f, -2.0f, 1.75f, 0.3f}, g[] = {1, 2, 4, 8};
  for (size_t c = 0; c < 4; ++c) {
    weights(0, c) = w[c];
    gradient(0, c) = g[c];
  }
  ScalesBackward(weights.view(), scheme, learned, gradient.view());
  // q = 1.2, -4, 3.5, 0.6: slopes 1 - 1.2, -3, 3, 1 - 0.6.
  const double sum = 1 * -0.2 + 2 * -3 + 4 * 3 + 8 * 0.4;
  CHECK(static_cast<double>(learned.scale.gradient(0, 0)) ==
        Approx(sum / std::sqrt(4.0 * 3.0)).epsilon(1e-5));
  CHECK(gradient(0, 0) == 1);
  CHECK(gradient(0, 1) == 0);
  CHECK(gradient(0, 2) == 0);
  CHECK(gradient(0, 3) == 8);
}

TEST_CASE("training with learned scales goes on from its state, whatever it would begin with") {
  const Transformer model = testing::Tiny({});
  const ModelConfig& config = model.config();
  WeightScheme scheme;
  scheme.bits = 3;
  scheme.group = 16;
  TrainSpec spec{.steps = 5, .batch = 2, .length = 20, .warmup = 1};
  spec.scales = TrainedScales::kLearned;
  const auto plan = testing::RoundAll(config, scheme);
  const auto ids = [&](size_t step) { return testing::RandomIds(40, config.vocab, step); };
  Team team(3);
  Trainer whole(config, model.weights(), model.weights(), plan, spec, &team);
  std::string state;
  for (size_t step = 0; step < spec.steps; ++step) {
    if (step == 2) whole.WriteState([&](std::string_view bytes) { state += bytes; });
    whole.Step(ids(step));
  }
  testing::TinyModel other;
  other.seed = 5;
  const Transformer elsewhere = testing::Tiny(other);
  ModelWeights start = model.weights();  // no state has what stands outside the blocks
  start.blocks = elsewhere.weights().blocks;
  Trainer again(config, model.weights(), start, plan, spec, nullptr);
  REQUIRE(again.ReadState(state));
  for (size_t step = 2; step < spec.steps; ++step) again.Step(ids(step));
  const auto codes = whole.LearnedCodes(), resumed = again.LearnedCodes();
  REQUIRE(codes.size() == 14);
  for (const auto& [name, packed] : codes) CHECK(packed.Sha256() == resumed.at(name).Sha256());
  CHECK_FALSE(again.ReadState(std::string_view(state).substr(0, state.size() - 1)));
  CHECK_FALSE(again.ReadState(state + "x"));
}

TEST_CASE("scales of other formats cannot be learned") {
  const WeightScheme scheme = SchemeOf(*FindFormat("nf4"));
  CHECK_ERROR(CheckLearnsScales(scheme, "layers.0.mlp.up_proj"), "layers.0.mlp.up_proj",
              "of the format int alone, found nf4", "recomputed scales");
}

}  // namespace
}  // namespace quantref
