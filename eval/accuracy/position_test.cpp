// Scores of one model beside another: the position's figures against plain formulas, and the
// windows' in lock step.
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "eval/accuracy/accuracy.h"
#include "eval/testing/tiny_models.h"
#include "harness/base/machine.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

using testing::RandomStream;
using testing::TinyModel;
using testing::TinyModels;

std::vector<float> RandomLogits(size_t n, double scale, Rng& rng) {
  std::vector<float> logits(n);
  for (float& x : logits) x = static_cast<float>(scale * rng.Normal());
  return logits;
}

struct Expected {
  long double nll, kl, change;
  bool same_top;
};

// sum p log(p / q) as it stands in textbooks, in long double.
Expected Textbook(const std::vector<float>& a, const std::vector<float>& b, uint32_t target) {
  const auto distribution = [](const std::vector<float>& logits) {
    long double sum = 0;
    for (float x : logits) sum += std::exp(static_cast<long double>(x));
    std::vector<long double> p;
    for (float x : logits) p.push_back(std::exp(static_cast<long double>(x)) / sum);
    return p;
  };
  const std::vector<long double> p = distribution(a), q = distribution(b);
  long double kl = 0;
  for (size_t i = 0; i < p.size(); ++i) kl += p[i] * std::log(p[i] / q[i]);
  const auto top = [](const std::vector<float>& x) {
    return std::max_element(x.begin(), x.end()) - x.begin();
  };
  return {-std::log(q[target]), kl, q[target] - p[target], top(a) == top(b)};
}

TEST_CASE("a position's scores are the textbook's") {
  Rng rng(11);
  for (size_t n : {2u, 7u, 8u, 9u, 100u, 8192u}) {
    for (double noise : {1e-4, 1e-2, 1.0}) {
      const std::vector<float> a = RandomLogits(n, 4, rng);
      std::vector<float> b = a;
      for (float& x : b) x += static_cast<float>(noise * rng.Normal());
      const uint32_t target = static_cast<uint32_t>(rng.Below(n));
      const PositionScore score = ScorePosition(ReferencePosition(a, target), b);
      const Expected expected = Textbook(a, b, target);
      CAPTURE(n, noise);
      CHECK(std::fabs(score.nll - static_cast<double>(expected.nll)) < 1e-12 * (1 + score.nll));
      // The difference of two sums of magnitude |logits|: absolute rounding of about 1e-14.
      CHECK(std::fabs(score.kl - static_cast<double>(expected.kl)) < 1e-6 * score.kl + 5e-14);
      CHECK(std::fabs(score.probability_change - static_cast<double>(expected.change)) < 1e-13);
      CHECK(score.same_top == expected.same_top);
    }
  }
}

TEST_CASE("probabilities that are kept change no bit of a comparison") {
  Rng rng(12);
  for (const size_t n : {1u, 7u, 31u, 40u, 8193u}) {
    const std::vector<float> a = RandomLogits(n, 4, rng), b = RandomLogits(n, 4, rng);
    std::vector<double> room(n);
    const PositionScore kept = ScorePosition(ReferencePosition(a, 0, room), b);
    const PositionScore made = ScorePosition(ReferencePosition(a, 0), b);
    CHECK(kept.kl == made.kl);
    CHECK(kept.nll == made.nll);
  }
}

TEST_CASE("equal logits diverge by exactly nothing; ties take the first of the largest") {
  Rng rng(3);
  const std::vector<float> logits = RandomLogits(8192, 6, rng);
  const PositionScore same = ScorePosition(ReferencePosition(logits, 5), logits);
  CHECK(same.kl == 0);
  CHECK(same.probability_change == 0);
  CHECK(same.same_top);
  const std::vector<float> tie = {1, 3, 3, 0}, first = {0, 5, 4, 0}, second = {0, 4, 5, 0};
  CHECK(ScorePosition(ReferencePosition(tie, 0), first).same_top);
  CHECK_FALSE(ScorePosition(ReferencePosition(tie, 0), second).same_top);
}

TEST_CASE("logits that are not finite give scores that are not") {
  const std::vector<float> good = {1, 2, 3};
  const std::vector<float> bad = {1, std::numeric_limits<float>::quiet_NaN(), 3};
  const PositionScore score = ScorePosition(ReferencePosition(good, 0), bad);
  CHECK_FALSE((std::isfinite(score.nll) && std::isfinite(score.kl)));
}

// Golden rows made by scripts/goldens/divergence.py with NumPy in float64 from float32 logits.
TEST_CASE("KL, NLL and top-1 agree with NumPy's") {
  std::ifstream file(testing::SourceDir() / "eval/testdata/divergence.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  REQUIRE(golden.size() >= 6);
  for (const auto& row : golden) {
    const auto a = row["reference"].get<std::vector<float>>(),
               b = row["model"].get<std::vector<float>>();
    const PositionScore score =
        ScorePosition(ReferencePosition(a, row["target"].get<uint32_t>()), b);
    CHECK(score.kl == Approx(row["kl"].get<double>()).epsilon(1e-6));
    CHECK(score.nll == Approx(row["nll"].get<double>()).epsilon(1e-12));
    CHECK(score.probability_change ==
          Approx(row["probability_change"].get<double>()).epsilon(1e-9));
    CHECK(score.same_top == row["same_top"].get<bool>());
  }
}

ScoreTable EvaluateAll(const std::vector<const Subject*>& models, const TokenStream& stream,
                       size_t threads, std::vector<size_t> chosen) {
  const std::vector<Window> windows = {{0, 60, 1}, {60, 60, 31}, {120, 60, 1}, {180, 41, 20}};
  ScoreTable table(models.size(), std::vector<std::optional<WindowScores>>(windows.size()));
  std::vector<double> seconds(models.size());
  EvaluateOptions options;
  options.threads = threads;
  Evaluate(models, FindProtocol("gptq-2048"), stream, windows, chosen, options, table, seconds);
  return table;
}

TEST_CASE("lock step gives the same bits for any threads, cells and order of windows") {
  const int bits[] = {3, 8, 4};
  const TinyModels models(TinyModel{}, bits, 60);
  const TokenStream stream = RandomStream(230, 64, 1);
  const ScoreTable base = EvaluateAll(models.pointers(), stream, 1, {0, 1, 2, 3});
  for (size_t threads : {2u, 4u})
    CHECK(EvaluateAll(models.pointers(), stream, threads, {0, 1, 2, 3}) == base);
  CHECK(EvaluateAll(models.pointers(), stream, 1, {0, 3, 2, 1}) == base);
  const std::vector<const Subject*> all = models.pointers();
  const ScoreTable fewer = EvaluateAll({all[0], all[2]}, stream, 2, {0, 1, 2, 3});
  CHECK(fewer[0] == base[0]);
  CHECK(fewer[1] == base[2]);
  CHECK_FALSE(base[1][0]->logits_sha256.empty());
  CHECK(base[1][1]->logits_sha256.empty());
  CHECK(base[1][0]->logits_sha256 != base[2][0]->logits_sha256);
  CHECK(base[1][0]->kl > base[3][0]->kl);  // 3 bits hurt more than 4
}

TEST_CASE("the reference against itself: KL exactly 0, agreement 1") {
  const TinyModels models(TinyModel{}, {}, 60);
  const std::vector<const Subject*> twice = {models.pointers()[0], models.pointers()[0]};
  const ScoreTable table = EvaluateAll(twice, RandomStream(230, 64, 2), 2, {0, 1});
  for (size_t w : {0u, 1u}) {
    const WindowScores& scores = *table[1][w];
    CHECK(scores.nll == table[0][w]->nll);
    CHECK(scores.kl == 0);
    CHECK(*std::max_element(scores.kl_values.begin(), scores.kl_values.end()) == 0);
    CHECK(scores.same_top == (w == 0 ? 59 : 29));
    CHECK(scores.probability_change_squares == 0);
  }
}

TEST_CASE("a vocabulary of 128,256 costs tiles of logits, not a window of them") {
  TinyModel shape;
  shape.vocab = 128256;
  shape.hidden = 16;
  shape.heads = 2;
  shape.kv_heads = 1;
  shape.tied = true;
  shape.context = 2048;
  const int bits[] = {4};
  const TinyModels models(shape, bits, 600);
  const TokenStream stream = RandomStream(600, shape.vocab, 4);
  const std::vector<Window> windows = {{0, 600, 1}};
  const std::vector<size_t> chosen = {0};
  ScoreTable table(2, std::vector<std::optional<WindowScores>>(1));
  std::vector<double> seconds(2);
  EvaluateOptions options;
  const size_t before = PeakRssBytes();
  Evaluate(models.pointers(), FindProtocol("gptq-2048"), stream, windows, chosen, options, table,
           seconds);
  // Two tiles of 128 rows are 131 MB; the logits of the window would be 307 MB for each model.
  CHECK(PeakRssBytes() - before < size_t{260} << 20);
  CHECK(table[1][0]->kl > 0);
}

}  // namespace
}  // namespace quantref
