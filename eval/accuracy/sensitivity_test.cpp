#include "eval/accuracy/sensitivity.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "eval/accuracy/accuracy.h"
#include "eval/testing/tiny_models.h"
#include "harness/base/error.h"
#include "harness/model/plan_model.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::TinyModels;

constexpr size_t kSensitiveTokens = 40;
const std::vector<size_t> kTwoWidths = {2, 5};

std::vector<std::vector<uint32_t>> RandomSamples(size_t count, size_t vocab) {
  std::vector<std::vector<uint32_t>> samples;
  for (size_t s = 0; s < count; ++s)
    samples.push_back(testing::RandomStream(kSensitiveTokens, vocab, 10 + s).ids);
  return samples;
}

std::vector<PlannedLinear> PlanAll(const ModelConfig& config, std::vector<std::string> keep) {
  QuantizeSpec spec;
  spec.weights = {.bits = 4, .group = 16};
  spec.keep = std::move(keep);
  return PlanModel(spec, config);
}

// One matrix rounded in a copy of the model, taken through the whole of it.
double KlOfCopy(const Transformer& reference, size_t planned, const WeightScheme& scheme,
                const std::vector<std::vector<uint32_t>>& samples) {
  ModelWeights weights = reference.weights();
  const bool tied = HeadIsTied(weights);
  Linear& linear = *AllLinears(weights)[planned];
  linear.weight = Weight(
      std::make_shared<const PackedMatrix>(RoundToNearest(linear.weight.Decode().view(), scheme)));
  if (planned == 0 && tied) weights.head.weight = weights.embedding.weight;
  const Transformer rounded(reference.config(), weights, kSensitiveTokens, Products::kSimulated);
  double sum = 0;
  size_t positions = 0;
  Workspace work;
  for (const std::vector<uint32_t>& ids : samples) {
    const size_t vocab = reference.config().vocab;
    Matrix<float> a(ids.size(), vocab), b(ids.size(), vocab);
    reference.Logits(reference.Hidden(ids, work).view(), a.view(), work);
    rounded.Logits(rounded.Hidden(ids, work).view(), b.view(), work);
    for (size_t t = 0; t + 1 < ids.size(); ++t, ++positions)
      sum +=
          ScorePosition(ReferencePosition(a.view().row_span(t), ids[t + 1]), b.view().row_span(t))
              .kl;
  }
  return sum / static_cast<double>(positions);
}

}  // namespace

TEST_CASE("sensitivity: equals the KL of copies with one matrix rounded") {
  for (const bool tied : {false, true}) {
    const TinyModels models({.layers = 3, .tied = tied}, {}, kSensitiveTokens);
    const Transformer& reference = models.transformer(0);
    const auto samples = RandomSamples(3, models.config().vocab);
    // Head and embedding, too; what is kept has none.
    std::vector<PlannedLinear> plan = PlanAll(models.config(), {"layers.1.mlp.up_proj"});
    const auto found =
        MeasureSensitivity(models.config(), reference.weights(), plan, kTwoWidths, samples, {});
    REQUIRE(found.size() == plan.size());
    for (size_t i = 0; i < plan.size(); ++i) {
      INFO(plan[i].shape.name);
      REQUIRE(found[i].size() == (plan[i].scheme ? 2u : 0u));
      for (size_t b = 0; b < found[i].size(); ++b) {
        WeightScheme scheme = *plan[i].scheme;
        scheme.bits = static_cast<int>(kTwoWidths[b]);
        const double expected = KlOfCopy(reference, i, scheme, samples);
        CHECK(expected > 0);
        CHECK(found[i][b] == Approx(expected).epsilon(1e-6));
      }
      if (plan[i].scheme) CHECK(found[i][0] > found[i][1]);
    }
  }
}

TEST_CASE("sensitivity: the same bits for any number of threads, progress to its end") {
  const TinyModels models({}, {}, kSensitiveTokens);
  const auto samples = RandomSamples(5, models.config().vocab);
  const std::vector<PlannedLinear> plan = PlanAll(models.config(), {"embed_tokens", "lm_head"});
  const auto measure = [&](size_t threads) {
    size_t last = 0, end = 0;
    bool in_order = true;
    SensitivityOptions options{.threads = threads};
    options.progress = [&](size_t done, size_t total, std::string_view what) {
      in_order = in_order && done > last && what.starts_with("layers.");
      last = done;
      end = total;
    };
    const auto found = MeasureSensitivity(models.config(), models.transformer(0).weights(), plan,
                                          kTwoWidths, samples, options);
    CHECK(last == end);
    CHECK(in_order);
    return found;
  };
  const auto one = measure(1);
  CHECK(one == measure(3));
  const SensitivityWork work = SensitivityWorkOf(models.config(), plan, 2);
  CHECK(work.blocks ==
        2 * 2 + 7 * 2 * 2 + 7 * 2);  // two blocks: those of the first go through both
  CHECK(work.heads == 14 * 3);
  const auto bytes = [&](size_t texts, size_t threads) {
    return SensitivityBytes(models.config(), plan, kTwoWidths, texts, 64, threads);
  };
  const auto vocab = static_cast<double>(models.config().vocab);
  const auto states = static_cast<double>(64 * models.config().hidden * 4);
  CHECK(bytes(5, 3) - bytes(5, 2) == Approx(128 * vocab * 16 + 2 * states));
  CHECK(bytes(6, 2) - bytes(5, 2) == Approx(2 * states));
  CHECK(bytes(1, 1) > 128 * vocab * 16 + 4 * states);
}

TEST_CASE("sensitivity: progress may stop it") {
  const TinyModels models({}, {}, kSensitiveTokens);
  SensitivityOptions options{.threads = 2};
  options.progress = [](size_t, size_t, std::string_view) { throw Error("enough", "here"); };
  CHECK_ERROR(MeasureSensitivity(models.config(), models.transformer(0).weights(),
                                 PlanAll(models.config(), {"embed_tokens", "lm_head"}), kTwoWidths,
                                 RandomSamples(2, models.config().vocab), options),
              "enough");
}

}  // namespace quantref
