#include "harness/method/calibrate.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/method/round_linear.h"
#include "harness/method/sample_share_testing.h"
#include "harness/model/transformer.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

using testing::TempDir;
using testing::TinyModel;
using Statistics = std::array<InputStatistics, kTaps>;

constexpr size_t kSamples = 11, kSampleTokens = 9;  // more than one batch, and a part of the next
constexpr DataNeeds kEverything = {
    .channel_max = true, .channel_mean = true, .gram = true, .kept = 1000};

struct CalibratedTexts {
  explicit CalibratedTexts(const TinyModel& shape = {}) {
    const TempDir dir;
    testing::WriteTinyModel(dir.path(), shape);
    config = ReadConfig(dir / "config.json");
    weights = LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
    Rng rng(1);
    for (size_t s = 0; s < kSamples; ++s)
      data.samples.push_back(testing::RandomIds(kSampleTokens, config.vocab, rng));
  }

  Calibrator MakeCalibrator(const TextRead& read, size_t threads,
                            SampleShare* share = nullptr) const {
    return {config, weights, data, read, threads, data.activation_budget, share};
  }

  // Block 0's inputs, by way of the Calibrator.
  Statistics Collect(const DataNeeds& needs, size_t threads, GramPart gram = GramPart::kAll,
                     SampleShare* share = nullptr) const {
    const RopeTable rope(config, kSampleTokens);
    Calibrator calibrator = MakeCalibrator({kSamples, kSampleTokens}, threads, share);
    std::array<GramPart, kTaps> grams;
    grams.fill(needs.gram || needs.gram_blocks ? gram : GramPart::kNone);
    Statistics statistics;
    calibrator.Run(
        [&](MatrixView<float> h, Workspace& work, const Observer& observer) {
          BlockForward({config, 0, rope}, weights.blocks[0], h, work, observer);
        },
        {LayoutOf(config, 0), kAllTaps, needs, grams, false}, statistics, {});
    return statistics;
  }

  ModelConfig config;
  ModelWeights weights;
  CalibrationData data;
};

bool SameBits(const Matrix<double>& a, const Matrix<double>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         std::memcmp(a.data(), b.data(), a.rows() * a.cols() * sizeof(double)) == 0;
}

void CheckSame(const Statistics& a, const Statistics& b) {
  for (size_t tap = 0; tap < kTaps; ++tap) {
    CHECK(a[tap].channel_max == b[tap].channel_max);
    CHECK(a[tap].channel_mean == b[tap].channel_mean);
    CHECK(SameBits(a[tap].gram, b[tap].gram));
    REQUIRE(a[tap].kept.size() == b[tap].kept.size());
    for (size_t s = 0; s < a[tap].kept.size(); ++s) {
      const Matrix<float>&x = a[tap].kept[s], &y = b[tap].kept[s];
      REQUIRE(x.rows() == y.rows());
      CHECK(std::equal(x.data(), x.data() + x.rows() * x.cols(), y.data()));
    }
  }
}

TEST_CASE("calibrate: statistics are those of the inputs, one by one", "[calibrate]") {
  const CalibratedTexts fixture;
  const RopeTable rope(fixture.config, kSampleTokens);
  const Statistics statistics = fixture.Collect(kEverything, 2);
  std::array<Matrix<double>, kTaps> grams;
  std::array<std::vector<double>, kTaps> largest, sums;
  Workspace work;
  for (size_t s = 0; s < kSamples; ++s) {
    Matrix<float> h(kSampleTokens, fixture.config.hidden);
    Embed(fixture.config, fixture.weights, fixture.data.samples[s], h.view());
    BlockForward({fixture.config, 0, rope}, fixture.weights.blocks[0], h.view(), work,
                 [&](Tap tap, MatrixView<const float> x) {
                   const size_t at = static_cast<size_t>(tap), n = x.cols();
                   if (s == 0) {
                     grams[at] = Matrix<double>(n, n);
                     std::fill_n(grams[at].data(), n * n, 0.0);
                     largest[at].assign(n, 0);
                     sums[at].assign(n, 0);
                   }
                   for (size_t t = 0; t < x.rows(); ++t) {
                     for (size_t i = 0; i < n; ++i) {
                       const double value = static_cast<double>(x(t, i));
                       largest[at][i] = std::max(largest[at][i], std::fabs(value));
                       sums[at][i] += std::fabs(value);
                       for (size_t j = 0; j < n; ++j)
                         grams[at](i, j) += value * static_cast<double>(x(t, j));
                     }
                   }
                   const Matrix<float>& kept = statistics[at].kept.at(s);
                   REQUIRE(kept.rows() == x.rows());
                   for (size_t t = 0; t < x.rows(); ++t) {
                     CHECK(std::equal(x.row(t), x.row(t) + n, kept.row(t)));
                   }
                 });
  }
  for (size_t at = 0; at < kTaps; ++at) {
    INFO("tap " << at);
    const InputStatistics& input = statistics[at];
    const size_t n = LayoutOf(fixture.config, 0).Channels(kAllTaps[at]);
    CHECK(input.tokens == kSamples * kSampleTokens);
    CHECK(input.kept.size() == kSamples);
    REQUIRE(input.channel_max.size() == n);
    REQUIRE(input.gram.rows() == n);
    double worst = 0;
    for (size_t i = 0; i < n; ++i) {
      CHECK(static_cast<double>(input.channel_max[i]) == largest[at][i]);
      CHECK(input.channel_mean[i] ==
            Approx(sums[at][i] / (kSamples * kSampleTokens)).epsilon(1e-12));
      for (size_t j = 0; j < n; ++j) {
        const double scale = std::sqrt(grams[at](i, i) * grams[at](j, j));
        worst = std::max(worst, std::fabs(input.gram(i, j) - grams[at](i, j)) / scale);
      }
    }
    CHECK(worst < 1e-6);
  }
}

TEST_CASE("calibrate: only what is asked for is there", "[calibrate]") {
  const Statistics statistics = CalibratedTexts().Collect({.channel_max = true}, 1);
  for (const InputStatistics& input : statistics) {
    CHECK_FALSE(input.channel_max.empty());
    CHECK(input.channel_mean.empty());
    CHECK(input.gram.rows() == 0);
    CHECK(input.kept.empty());
  }
}

TEST_CASE("calibrate: blocks on the diagonal have the bits that the whole matrix has there",
          "[calibrate]") {
  const CalibratedTexts fixture({.hidden = 40, .intermediate = 2 * kGramBlock + 70});
  const DataNeeds blocks = {.gram_blocks = true};
  const Statistics whole = fixture.Collect(blocks, 2);
  const Statistics part = fixture.Collect(blocks, 2, GramPart::kBlocks);
  for (size_t tap = 0; tap < kTaps; ++tap) {
    const Matrix<double>&all = whole[tap].gram, &some = part[tap].gram;
    REQUIRE(some.rows() == all.rows());
    bool same = true;
    for (size_t i = 0; i < all.rows(); ++i) {
      for (size_t j = 0; j < all.cols(); ++j)
        same = same && some(i, j) == (i / kGramBlock == j / kGramBlock ? all(i, j) : 0);
    }
    CHECK(same);
  }
}

TEST_CASE("calibrate: which products are summed", "[calibrate]") {
  ModelConfig config;
  config.layers.resize(1);
  std::vector<PlannedLinear> linears(kLinears);
  const BlockPlan block{LayoutOf(config, 0), linears};
  const auto part = [&](Tap tap, const DataNeeds& needs) { return GramOf(block, tap, needs); };
  const DataNeeds all = {.gram = true}, blocks = {.gram_blocks = true};
  CHECK(part(Tap::kMlpHidden, all | blocks) == GramPart::kNone);  // nobody there is quantized
  const auto give = [&](LinearIndex linear, const WeightScheme& scheme) {
    linears[block.layout.PositionOf(linear)].scheme = scheme;
  };
  give(kDown, {.granularity = Granularity::kGroup, .group = 128});
  give(kO, {.granularity = Granularity::kRow});
  give(kUp, {.granularity = Granularity::kGroup, .group = 96});
  CHECK(part(Tap::kMlpHidden, all) == GramPart::kAll);
  CHECK(part(Tap::kMlpHidden, blocks) == GramPart::kBlocks);
  CHECK(part(Tap::kMlpHidden, {.channel_max = true}) == GramPart::kNone);
  CHECK(part(Tap::kAttentionOutput, blocks) == GramPart::kAll);
  CHECK(part(Tap::kMlpInput, blocks) == GramPart::kAll);  // 96 columns may lie across an edge
  give(kUp, {.granularity = Granularity::kGroup, .group = 512});
  CHECK(part(Tap::kMlpInput, blocks) == GramPart::kAll);
}

TEST_CASE("calibrate: kept inputs are the first tokens of the first samples", "[calibrate]") {
  const CalibratedTexts fixture;
  const Statistics all = fixture.Collect({.kept = 1000}, 2), few = fixture.Collect({.kept = 30}, 2);
  const Matrix<float>&whole = all[0].kept.at(4), &part = few[0].kept.at(4);
  CHECK(few[0].kept.size() == kSamples);
  CHECK(part.rows() == 3);  // 11 samples of 3 are the least that hold 30
  CHECK(std::equal(part.data(), part.data() + 3 * part.cols(), whole.data()));
  // Who asked for less gets less.
  CHECK(all[0].Kept(30)[4].rows() == 3);
  CHECK(all[0].Kept(1)[0].rows() == 1);
  CHECK(all[0].Kept(1 << 20)[0].rows() == kSampleTokens);
  CHECK(KeptRows(128, 2048, 2048) == 2048 / kKeptSamples);
  CHECK(KeptRows(4, 2048, 2048) == 512);
  CHECK(KeptRows(1, 512, 2048) == 512);
}

TEST_CASE("calibrate: what is read for a layer report alone", "[calibrate]") {
  CalibrationData data;
  data.samples.assign(32, std::vector<uint32_t>(2048));
  CHECK(ReadBy(data, {.channel_max = true}) == TextRead{32, 2048});
  CHECK(ReadBy(data, {.gram_blocks = true}) == TextRead{32, 2048});
  CHECK(ReadBy(data, {}) == TextRead{kKeptSamples, kReportTokens / kKeptSamples});
  data.samples.resize(3);
  CHECK(ReadBy(data, {}) == TextRead{3, (kReportTokens + 2) / 3});
}

TEST_CASE("calibrate: a copy goes its own way", "[calibrate]") {
  CalibratedTexts fixture;
  for (const size_t budget : {size_t{0}, size_t{1} << 30}) {
    fixture.data.activation_budget = budget;
    const RopeTable rope(fixture.config, kSampleTokens);
    Calibrator calibrator = fixture.MakeCalibrator({3, kSampleTokens}, 2);
    const auto mean = [&](Calibrator& of, bool advance) {
      Statistics statistics;
      of.Run(
          [&](MatrixView<float> h, Workspace& work, const Observer& observer) {
            BlockForward({fixture.config, 0, rope}, fixture.weights.blocks[0], h, work, observer);
          },
          {LayoutOf(fixture.config, 0), kAllTaps, {.channel_mean = true}, {}, advance}, statistics,
          {});
      return statistics[0].channel_mean;
    };
    Calibrator copy(calibrator);
    const std::vector<double> before = mean(calibrator, true);
    CHECK(mean(copy, false) == before);
    CHECK(mean(calibrator, false) != before);
    CHECK(mean(copy, false) == before);
  }
}

TEST_CASE("calibrate: the same bits for any number of threads, in memory or in a file",
          "[calibrate]") {
  CalibratedTexts fixture(
      {.hidden = 40, .intermediate = 300});  // more than one tile, a part of one
  const Statistics one = fixture.Collect(kEverything, 1);
  CheckSame(fixture.Collect(kEverything, 2), one);
  CheckSame(fixture.Collect(kEverything, 4), one);
  fixture.data.activation_budget = 0;
  CheckSame(fixture.Collect(kEverything, 2), one);
}

TEST_CASE("calibrate: the same bits for any number of processes that share the samples",
          "[calibrate]") {
  // Several stripes of products, which several threads take.
  const CalibratedTexts fixture({.hidden = 40, .intermediate = 2 * kGramBlock + 70});
  const Statistics alone = fixture.Collect(kEverything, 1);
  for (const size_t processes : {1u, 2u, 3u, 13u}) {  // at last more than there are samples
    std::vector<Statistics> all(processes);
    testing::ShareSamples(processes, [&](SampleShare& share) {
      all[share.rank()] =
          fixture.Collect(kEverything, 1 + share.rank() % 3, GramPart::kAll, &share);
    });
    for (const Statistics& statistics : all) CheckSame(statistics, alone);
  }
}

TEST_CASE("calibrate: hidden states move on only when they are told to", "[calibrate]") {
  const CalibratedTexts fixture;
  const RopeTable rope(fixture.config, kSampleTokens);
  Calibrator calibrator = fixture.MakeCalibrator({3, kSampleTokens}, 2);
  const Calibrator::Part block = [&](MatrixView<float> h, Workspace& work,
                                     const Observer& observer) {
    BlockForward({fixture.config, 0, rope}, fixture.weights.blocks[0], h, work, observer);
  };
  const auto first_inputs = [&](bool advance) {
    Statistics statistics;
    calibrator.Run(block,
                   {LayoutOf(fixture.config, 0), kAllTaps, {.channel_mean = true}, {}, advance},
                   statistics, {});
    return statistics[0].channel_mean;
  };
  const std::vector<double> before = first_inputs(false);
  CHECK(first_inputs(true) == before);
  CHECK(first_inputs(false) != before);
}

TEST_CASE("activation store: in memory or in a file", "[calibrate]") {
  for (const size_t budget : {size_t{0}, size_t{3 * 5 * 7 * 4}, size_t{1} << 30}) {
    ActivationStore store(3, 5, 7, budget);
    CHECK(store.in_file() == (budget == 0));
    for (size_t s = 0; s < 3; ++s) store.sample(s)(4, 6) = static_cast<float>(s) + 1;
    for (size_t s = 0; s < 3; ++s) CHECK(store.sample(s)(4, 6) == static_cast<float>(s) + 1);
    CHECK(store.sample(1)(0, 0) == 0);
  }
}

}  // namespace
}  // namespace quantref
