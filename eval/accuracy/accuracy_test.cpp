#include "eval/accuracy/accuracy.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "eval/record/kept_logits.h"
#include "eval/testing/tiny_models.h"
#include "harness/base/cancel.h"
#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

long double Exact(const std::vector<float>& logits, uint32_t target) {
  const long double top = *std::max_element(logits.begin(), logits.end());
  long double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<long double>(logit) - top);
  return top + std::log(sum) - static_cast<long double>(logits[target]);
}

double ErrorOf(const std::vector<float>& logits, uint32_t target) {
  const long double exact = Exact(logits, target);
  return static_cast<double>(std::abs(NegativeLogLikelihood(logits, target) - exact));
}

TEST_CASE("NegativeLogLikelihood agrees with long double") {
  Rng rng(5);
  double worst = 0;
  for (const size_t size : {1u, 2u, 15u, 16u, 17u, 500u, 8192u, 32001u}) {
    for (const double spread : {0.0, 0.1, 4.0, 60.0}) {
      std::vector<float> logits(size);
      for (float& logit : logits) logit = static_cast<float>(spread * rng.Normal() - 7);
      const auto target = static_cast<uint32_t>(rng.Below(size));
      worst = std::max(worst, ErrorOf(logits, target));
    }
  }
  CHECK(worst < 1e-6);
}

TEST_CASE("NegativeLogLikelihood at the edges") {
  CHECK(NegativeLogLikelihood(std::vector<float>{3}, 0) == 0);
  CHECK(NegativeLogLikelihood(std::vector<float>(1024, -2.5f), 7) == Approx(std::log(1024.0)));
  // Logits far apart, and large, neither overflow nor vanish.
  const std::vector<float> far = {-3e4f, 3e4f, 0};
  CHECK(NegativeLogLikelihood(far, 1) == Approx(0).margin(1e-12));
  CHECK(NegativeLogLikelihood(far, 0) == Approx(6e4));
  CHECK(ErrorOf({1e30f, 1e30f}, 1) < 1e-6);
  const float inf = std::numeric_limits<float>::infinity();
  CHECK_FALSE(std::isfinite(NegativeLogLikelihood(std::vector<float>{0, inf}, 0)));
  CHECK_FALSE(std::isfinite(NegativeLogLikelihood(std::vector<float>{0, -inf}, 1)));
  CHECK_FALSE(std::isfinite(NegativeLogLikelihood(std::vector<float>{0, std::nanf("")}, 0)));
}

// A reference and two quantized copies, with windows of more than one tile of logits.
const testing::TinyModels& TheModels() {
  static constexpr int kBits[] = {3, 6};
  static const testing::TinyModels models({.hidden = 64, .context = 300}, kBits, 300);
  return models;
}

const Transformer& TheModel() { return TheModels().transformer(0); }

TokenStream Stream(size_t tokens) { return testing::RandomStream(tokens, 64, 11); }

Protocol FullStride() { return FindProtocol("full-stride"); }

// The scores of all windows.
ScoreTable Run(const std::vector<const Subject*>& models, const Protocol& protocol,
               const TokenStream& stream, EvaluateOptions options) {
  const std::vector<Window> windows =
      MakeWindows(protocol, stream.ids.size(), models[0]->context());
  ScoreTable table(models.size(), std::vector<std::optional<WindowScores>>(windows.size()));
  std::vector<size_t> all(windows.size());
  std::iota(all.begin(), all.end(), size_t{0});
  std::vector<double> seconds(models.size());
  Evaluate(models, protocol, stream, windows, all, options, table, seconds);
  return table;
}

EvaluateOptions Threads(size_t threads) {
  EvaluateOptions options;
  options.threads = threads;
  return options;
}

// The plain way: all logits of a window at once, summed in long double.
double WindowNll(const Transformer& model, const std::vector<uint32_t>& ids, size_t first_scored) {
  Workspace work;
  const Matrix<float> hidden = model.Hidden(ids, work);
  Matrix<float> logits(ids.size(), model.config().vocab);
  model.Logits(hidden.view(), logits.view(), work);
  long double sum = 0;
  for (size_t p = first_scored; p < ids.size(); ++p) {
    const float* row = logits.row(p - 1);
    sum += Exact({row, row + model.config().vocab}, ids[p]);
  }
  return static_cast<double>(sum);
}

TEST_CASE("Evaluate sums the NLL of the scored predictions and of no other") {
  const TokenStream stream = Stream(700);
  for (const char* name : {"gptq-2048", "full-stride"}) {
    INFO(name);
    const Protocol& protocol = FindProtocol(name);
    const std::vector<Window> windows = MakeWindows(protocol, 700, 300);
    const ScoreTable scores = Run({TheModels().pointers()[0]}, protocol, stream, Threads(2));
    REQUIRE(scores[0].size() == windows.size());
    for (size_t w = 0; w < windows.size(); ++w) {
      const double expected =
          WindowNll(TheModel(), WindowIds(protocol, stream, windows[w]), windows[w].first_scored);
      REQUIRE(scores[0][w]);
      CHECK(scores[0][w]->nll == Approx(expected).epsilon(1e-6));
    }
  }
}

TEST_CASE("Evaluate feeds each chunk of llamacpp-512 with BOS first and scores its second half") {
  const testing::TinyModels models({}, {}, 512);
  const Transformer& model = models.transformer(0);
  const TokenStream stream = Stream(1100);
  const ScoreTable scores =
      Run({models.pointers()[0]}, FindProtocol("llamacpp-512"), stream, Threads(1));
  REQUIRE(scores[0].size() == 2);
  std::vector<uint32_t> second(stream.ids.begin() + 512, stream.ids.begin() + 1024);
  second[0] = stream.ids[0];
  CHECK(scores[0][1]->nll == Approx(WindowNll(model, second, 257)).epsilon(1e-6));
}

TEST_CASE("Evaluate gives the same bits for any number of threads and of models") {
  const std::vector<const Subject*> all = TheModels().pointers();
  const TokenStream stream = Stream(1234);
  const ScoreTable base = Run(all, FullStride(), stream, Threads(1));
  REQUIRE(base[0].size() == 8);
  CHECK((Run({all[0]}, FullStride(), stream, Threads(1))[0] == base[0]));
  CHECK((base[1][0]->nll != base[0][0]->nll));
  for (size_t threads : {2u, 4u, 13u}) {
    INFO(threads << " threads");
    CHECK((Run(all, FullStride(), stream, Threads(threads)) == base));
    const ScoreTable two = Run({all[0], all[2]}, FullStride(), stream, Threads(threads));
    CHECK((two == ScoreTable{base[0], base[2]}));
  }
}

// The first copy with rounded activations, channels that stay as they are, and a rounded cache.
Transformer RoundedTiny() {
  ModelWeights weights = TheModels().transformer(1).weights();
  for (BlockWeights& block : weights.blocks) {
    for (Linear& linear : block.linears) {
      if (linear.name.empty()) continue;
      linear.activations =
          DynamicFormat(ActivationScheme{.outliers = OutlierRule{1, OutlierRule::Weights::kInt8}});
    }
  }
  weights.kv_cache = KvScheme{.group = 16};
  return {TheModel().config(), std::move(weights), 300};
}

TEST_CASE("Evaluate gives windows that are fewer than the threads teams of these, and their bits") {
  const Transformer rounded = RoundedTiny();
  const TransformerSubject subject(rounded, "rounded");
  const std::vector<const Subject*> models = {TheModels().pointers()[0], TheModels().pointers()[2],
                                              &subject};
  const TokenStream stream = Stream(900);
  const ScoreTable base = Run(models, FullStride(), stream, Threads(1));
  REQUIRE(base[0].size() == 5);
  CHECK((base[2][0]->nll != base[1][0]->nll));
  CHECK(base[2][0]->outliers.front() > 0);
  CHECK_FALSE(base[2][0]->logits_sha256.empty());
  for (size_t threads : {2u, 3u, 6u, 16u}) {
    INFO(threads << " threads");
    CHECK((Run(models, FullStride(), stream, Threads(threads)) == base));
  }
}

TEST_CASE("Evaluate counts the logits that it holds for one window") {
  // 512 positions, of a large vocabulary 128: one model's, two models', and their probabilities.
  CHECK(LogitBytes(8192, 1, true) == 512u * 8192 * 4);
  CHECK(LogitBytes(8192, 2, true) == 512u * 8192 * 8);
  CHECK(LogitBytes(8192, 5, false) == 512u * 8192 * 8);
  CHECK(LogitBytes(8192, 5, true) == 512u * 8192 * 16);
  CHECK(LogitBytes(262144, 3, true) == size_t{128} * 262144 * 16);
}

TEST_CASE("Evaluate without comparisons gives the same NLLs") {
  const TokenStream stream = Stream(600);
  EvaluateOptions options = Threads(2);
  const ScoreTable compared = Run(TheModels().pointers(), FullStride(), stream, options);
  options.compare = false;
  const ScoreTable plain = Run(TheModels().pointers(), FullStride(), stream, options);
  for (size_t m = 0; m < plain.size(); ++m) {
    for (size_t w = 0; w < plain[m].size(); ++w) {
      CHECK(plain[m][w]->nll == compared[m][w]->nll);
      CHECK(plain[m][w]->kl_values.empty());
    }
  }
}

TEST_CASE("Evaluate compares kept logits beside all else, to the same bits for any threads") {
  const TokenStream stream = Stream(700);
  const std::vector<const Subject*> models = TheModels().pointers();
  const ScoreTable plain = Run(models, FullStride(), stream, Threads(2));
  EvaluateOptions options = Threads(1);
  options.kept_logits = true;
  ScoreTable scores = Run(models, FullStride(), stream, options);
  options.threads = 3;
  CHECK((Run(models, FullStride(), stream, options) == scores));
  for (size_t m = 0; m < models.size(); ++m) {
    for (size_t w = 0; w < scores[m].size(); ++w) {
      CHECK(plain[m][w]->kept_kl.empty());
      REQUIRE(scores[m][w]->kept_kl.size() == kKeptLogitsForms.size());
      const double fp16 = scores[m][w]->kept_kl[0];
      CHECK(fp16 > 0);
      CHECK(fp16 == Approx(scores[m][w]->kl).epsilon(0.02).margin(1e-3));
      scores[m][w]->kept_kl.clear();
    }
  }
  CHECK((scores == plain));
}

TEST_CASE("Evaluate measures the chosen windows only, and hands each over once") {
  const TokenStream stream = Stream(1234);
  const std::vector<Window> windows = MakeWindows(FullStride(), 1234, 300);
  const std::vector<const Subject*> models = TheModels().pointers();
  const std::vector<size_t> chosen = {6, 2, 3};
  ScoreTable table(models.size(), std::vector<std::optional<WindowScores>>(windows.size()));
  std::vector<double> seconds(models.size());
  std::vector<size_t> handed_over;
  EvaluateOptions options = Threads(2);
  options.on_window = [&](size_t window, std::span<const WindowScores> scores) {
    handed_over.push_back(window);
    REQUIRE(scores.size() == models.size());
    CHECK((scores[1] == *table[1][window]));
  };
  Evaluate(models, FullStride(), stream, windows, chosen, options, table, seconds);
  for (size_t w = 0; w < windows.size(); ++w)
    CHECK(table[0][w].has_value() == (w == 2 || w == 3 || w == 6));
  std::sort(handed_over.begin(), handed_over.end());
  CHECK(handed_over == std::vector<size_t>{2, 3, 6});
  for (double spent : seconds) CHECK(spent > 0);
}

// The model with its last norm's gains replaced.
Transformer WithGain(float gain) {
  ModelWeights weights = TheModel().weights();
  weights.final_norm.assign(weights.final_norm.size(), gain);
  return {TheModel().config(), std::move(weights), TheModel().config().context};
}

TEST_CASE("Evaluate refuses logits that are not finite") {
  const TokenStream stream = Stream(900);
  for (float gain : {std::numeric_limits<float>::infinity(), std::nanf(""), 3e38f}) {
    const Transformer model = WithGain(gain);
    const TransformerSubject broken(model, "broken");
    for (size_t threads : {1u, 2u}) {
      for (bool compare : {true, false}) {
        EvaluateOptions options = Threads(threads);
        options.compare = compare;
        CHECK_ERROR(Run({&broken}, FullStride(), stream, options),
                    "the logits of broken are not finite in window ", "the model overflows");
        CHECK_ERROR(Run({TheModels().pointers()[0], &broken}, FullStride(), stream, options),
                    "the logits of broken are not finite in window ",
                    "the quantized model overflows");
      }
    }
  }
}

TEST_CASE("Evaluate counts its progress in order, one call at a time, to the total") {
  const std::vector<const Subject*> models = TheModels().pointers();
  const TokenStream stream = Stream(1800);
  const size_t expected_total = models.size() * MakeWindows(FullStride(), 1800, 300).size();
  for (size_t threads : {1u, 4u}) {
    std::vector<size_t> seen, expected;
    bool totals_right = true, alone = true;
    std::atomic<int> inside{0};
    EvaluateOptions options = Threads(threads);
    options.progress = [&](size_t done, size_t total) {
      alone = alone && inside.fetch_add(1) == 0;
      seen.push_back(done);
      totals_right = totals_right && total == expected_total;
      inside.fetch_sub(1);
    };
    Run(models, FullStride(), stream, options);
    for (size_t i = 1; i <= expected_total; ++i) expected.push_back(i);
    CHECK(seen == expected);
    CHECK(totals_right);
    CHECK(alone);
  }
}

TEST_CASE("Evaluate ends inside a window when it is cancelled") {
  constexpr int kBits[] = {4, 4, 4};
  const testing::TinyModels models(testing::TinyModel{}, kBits, 24);
  const TokenStream stream = testing::RandomStream(24, 64, 3);
  const std::vector<Window> windows = {{0, 24, 1}};
  size_t last = 0;
  EvaluateOptions options;
  options.progress = [&](size_t done, size_t) {
    last = done;
    SetCancelRequested(true);
  };
  ScoreTable table(4, std::vector<std::optional<WindowScores>>(1));
  std::vector<double> seconds(4);
  const size_t chosen[] = {0};
  const auto run = [&] {
    Evaluate(models.pointers(), FindProtocol("gptq-2048"), stream, windows, chosen, options, table,
             seconds);
  };
  CHECK_THROWS_AS(run(), Interrupted);
  SetCancelRequested(false);
  CHECK(last == 1);  // of four models
  CHECK_FALSE(table[0][0].has_value());
}

TEST_CASE("Evaluate stops where progress throws") {
  const TokenStream stream = Stream(6000);
  REQUIRE(MakeWindows(FullStride(), 6000, 300).size() > 30);
  for (size_t threads : {1u, 3u}) {
    size_t calls = 0;
    EvaluateOptions options = Threads(threads);
    options.progress = [&calls](size_t done, size_t) {
      ++calls;
      if (done >= 3) throw Interrupted("enough", "test");
    };
    CHECK_THROWS_AS(Run({TheModels().pointers()[0]}, FullStride(), stream, options), Interrupted);
    CHECK(calls <= 2 + threads);
  }
}

}  // namespace
}  // namespace quantref
