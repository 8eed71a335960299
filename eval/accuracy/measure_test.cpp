#include "eval/accuracy/measure.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "eval/accuracy/summary.h"
#include "eval/testing/tiny_models.h"

namespace quantref {
namespace {

using testing::RandomStream;
using testing::TempDir;
using testing::TinyModel;
using testing::TinyModels;

constexpr size_t kWindow = 24, kWindows = 64;

struct World {
  World() : models(TinyModel{}, kBits, kWindow), stream(RandomStream(kWindow * kWindows, 64, 9)) {
    for (size_t w = 0; w < kWindows; ++w) windows.push_back({w * kWindow, kWindow, 1});
    options.journal = dir / "journal";
    options.fingerprint = "f";
  }
  // Lets go of the journal, so that another may follow.
  Measurement Run() const {
    Measurement measurement =
        Measure(models.pointers(), FindProtocol("gptq-2048"), stream, windows, options);
    measurement.journal.reset();
    return measurement;
  }

  static constexpr int kBits[] = {4, 6};
  TempDir dir;
  TinyModels models;
  TokenStream stream;
  std::vector<Window> windows;
  MeasureOptions options;
};

size_t CountMeasured(const Measurement& measurement) {
  size_t count = 0;
  for (const auto& scores : measurement.scores[0]) count += scores.has_value();
  return count;
}

TEST_CASE("without a stop rule every window is measured") {
  World world;
  const Measurement measurement = world.Run();
  CHECK(CountMeasured(measurement) == kWindows);
  CHECK_FALSE(measurement.stopped_early);
  CHECK(measurement.first_window == 0);
}

TEST_CASE("no score depends on the order of windows") {
  World world;
  const Measurement random = world.Run();
  world.options.order = OrderRule::kText;
  world.options.threads = 2;
  const Measurement text = world.Run();
  CHECK(text.scores == random.scores);
  CHECK(WindowOrder(kWindows, OrderRule::kRandom, std::nullopt) !=
        WindowOrder(kWindows, OrderRule::kText, std::nullopt));
}

TEST_CASE("shards share out the windows of an order, each once") {
  const std::vector<size_t> order = WindowOrder(23, OrderRule::kRandom, std::nullopt);
  CHECK(PartOf(order, {}) == order);
  for (const size_t count : {1u, 3u, 7u, 23u, 40u}) {
    std::vector<size_t> all;
    for (size_t index = 0; index < count; ++index) {
      const std::vector<size_t> part = PartOf(order, {index, count});
      CHECK(part.size() >= 23 / count);
      CHECK(part.size() <= 23 / count + 1);
      all.insert(all.end(), part.begin(), part.end());
    }
    std::sort(all.begin(), all.end());
    CHECK(all == WindowOrder(23, OrderRule::kText, std::nullopt));
  }
}

TEST_CASE("what shards measured, taken together, is what one process measures") {
  World world;
  const auto merged = [&](size_t count) {
    std::vector<JournalEntry> measured;
    for (size_t index = 0; index < count; ++index) {
      world.options.shard = {index, count};
      world.options.threads = 1 + index % 2;
      CHECK(CountMeasured(world.Run()) ==
            PartOf(std::vector<size_t>(kWindows), world.options.shard).size());
      for (JournalEntry& entry : Journal::Read(world.options.journal, "f", 3))
        measured.push_back(std::move(entry));
    }
    world.options.shard = {};
    world.options.measured = std::move(measured);
    Measurement all = world.Run();
    world.options.measured.clear();
    return all;
  };
  const Measurement whole = world.Run();
  for (const size_t count : {3u, 7u}) {
    const Measurement together = merged(count);
    CHECK(together.scores == whole.scores);
    CHECK(together.resumed_windows == kWindows);
  }
  // A stop rule ends no shard early, and where it ends one process it ends what is taken together.
  const auto reference = Measured(whole.scores[0], world.windows);
  const auto change = PairedDifference(Measured(whole.scores[1], world.windows), reference);
  world.options.stop =
      StopRule{.delta_nll_halfwidth = change->HalfWidth() * 1.6, .min_windows = 8, .seed = 5};
  const Measurement stopped = world.Run();
  REQUIRE(stopped.stopped_early);
  const Measurement together = merged(3);
  CHECK(together.scores == stopped.scores);
  CHECK(together.stopped_early);
}

TEST_CASE("there is a look after eight windows and at each doubling, but for the last") {
  World world;
  world.options.threads = 3;
  std::vector<size_t> looks;
  world.options.on_look = [&](const ScoreTable& scores, size_t measured) {
    looks.push_back(measured);
    for (const auto& row : scores) {
      size_t there = 0;
      for (const auto& window : row) there += window.has_value();
      CHECK(there == measured);
    }
    if (measured == 16) throw std::runtime_error("enough");
  };
  CHECK_THROWS_AS(world.Run(), std::runtime_error);
  CHECK(looks == std::vector<size_t>{8, 16});
  // What the journal gave was looked at before.
  world.options.resume = true;
  world.options.on_look = [&](const ScoreTable&, size_t measured) { looks.push_back(measured); };
  CHECK(CountMeasured(world.Run()) == kWindows);
  CHECK(looks == std::vector<size_t>{8, 16, 32});
}

TEST_CASE("where each window may be looked at, it is from the eighth on, but for the last") {
  World world;
  world.options.every_window = true;
  std::vector<size_t> looks, expected(kWindows - kFirstLook);
  world.options.on_look = [&](const ScoreTable&, size_t measured) { looks.push_back(measured); };
  world.Run();
  std::iota(expected.begin(), expected.end(), kFirstLook);
  CHECK(looks == expected);
}

TEST_CASE(
    "a stop rule ends at the same window for any number of threads, and its interval is as narrow "
    "as asked") {
  World world;
  const Measurement whole = world.Run();
  const auto half_width = [&](const Measurement& m, size_t model) {
    return PairedDifference(Measured(m.scores[model], world.windows),
                            Measured(m.scores[0], world.windows))
        ->HalfWidth();
  };
  world.options.stop =
      StopRule{.delta_nll_halfwidth = half_width(whole, 1) * 1.6, .min_windows = 8, .seed = 5};
  const Measurement one = world.Run();
  CHECK(one.stopped_early);
  CHECK(CountMeasured(one) < kWindows);
  CHECK(CountMeasured(one) % kWindowsPerLook == 0);
  for (size_t model : {1u, 2u})
    CHECK(half_width(one, model) <= world.options.stop->delta_nll_halfwidth);
  world.options.threads = 3;
  CHECK(world.Run().scores == one.scores);
  world.options.stop->seed = 6;
  CHECK(world.Run().scores != one.scores);  // other windows
  world.options.stop->delta_nll_halfwidth = 1e-12;
  const Measurement never = world.Run();
  CHECK_FALSE(never.stopped_early);
  CHECK(CountMeasured(never) == kWindows);
}

TEST_CASE("a run stopped at any window goes on to the same bits") {
  World world;
  const bool with_rule = GENERATE(false, true);
  if (with_rule)
    world.options.stop = StopRule{.delta_nll_halfwidth = 0.05, .min_windows = 16, .seed = 1};
  const Measurement whole = world.Run();
  for (size_t stop_at : {1u, 2u, 20u, 61u, 150u}) {
    World other;
    other.options.stop = world.options.stop;
    other.options.threads = 2;
    other.options.progress = [&](size_t done, size_t) {
      if (done >= stop_at) throw Interrupted("now", "test");
    };
    const Measurement part = other.Run();
    CHECK(part.interrupted);
    for (size_t w = 0; w < kWindows; ++w) {
      const bool there = part.scores[0][w].has_value();
      for (const auto& row : part.scores)
        CHECK((there ? row[w] == whole.scores[&row - &part.scores[0]][w] : !row[w]));
    }
    other.options.progress = {};
    other.options.resume = true;
    const Measurement resumed = other.Run();
    CHECK_FALSE(resumed.interrupted);
    CHECK(resumed.scores == whole.scores);
    CHECK(resumed.resumed_windows <= stop_at / 3 + 2);
    CHECK((stop_at < 20 || resumed.resumed_windows > 0));
  }
}

TEST_CASE("what a journal has is good for runs of more windows and of fewer, and stays in it") {
  const World whole;
  const Measurement all = whole.Run();
  World world;
  const auto resume = [&](size_t windows, size_t others) {
    world.windows.assign(whole.windows.begin(),
                         whole.windows.begin() + static_cast<std::ptrdiff_t>(windows));
    const Measurement measurement = world.Run();
    for (size_t m = 0; m < all.scores.size(); ++m) {
      for (size_t w = 0; w < windows; ++w) CHECK(measurement.scores[m][w] == all.scores[m][w]);
    }
    CHECK(measurement.other_windows == others);
    world.options.resume = true;
    return measurement.resumed_windows;
  };
  CHECK(resume(8, 0) == 0);
  CHECK(resume(3, 5) == 3);
  CHECK(resume(16, 0) == 8);
  CHECK(resume(kWindows, 0) == 16);
}

TEST_CASE("with a stop rule, another number of windows has another order, to the same bits") {
  World world;
  world.options.stop = StopRule{.delta_nll_halfwidth = 1e-12, .min_windows = 8, .seed = 1};
  const World unstopped;
  const Measurement all = unstopped.Run();
  for (const size_t windows : {12u, 40u}) {
    world.windows.assign(unstopped.windows.begin(), unstopped.windows.begin() + windows);
    const Measurement measurement = world.Run();
    world.options.resume = true;
    for (size_t w = 0; w < windows; ++w) {
      CHECK(measurement.scores[1][w]->nll == all.scores[1][w]->nll);
      CHECK(measurement.scores[1][w]->logits_sha256.empty() == (w != measurement.first_window));
    }
  }
}

TEST_CASE("a window is kept only after it was asked whether its scores are worth anything") {
  World world;
  const Measurement whole = world.Run();
  size_t kept = 0;
  world.options.before_keeping = [&] {
    if (kept == 5) throw InputChanged("now", "test");
    ++kept;
  };
  CHECK_THROWS_AS(world.Run(), InputChanged);
  world.options.before_keeping = {};
  world.options.resume = true;
  const Measurement resumed = world.Run();
  CHECK(resumed.resumed_windows == 5);
  CHECK(resumed.scores == whole.scores);
}

TEST_CASE("progress counts up to the whole, journaled windows too") {
  World world;
  world.Run();
  world.options.resume = true;
  size_t last = 0;
  world.options.progress = [&](size_t done, size_t) { last = done; };
  CHECK(world.Run().resumed_windows == kWindows);
  CHECK(last == 0);  // nothing was left to do
}

TEST_CASE("summaries: figures by hand") {
  WindowScores a, b, reference_a, reference_b;
  a.nll = 10, a.nll_squares = 60, a.kl = 1, a.kl_values = {0.25, 0.75}, a.same_top = 2;
  b.nll = 8, b.nll_squares = 40, b.kl = 3, b.kl_values = {1, 2}, b.same_top = 1;
  reference_a.nll = 9, reference_b.nll = 7;
  a.probability_change_squares = 0.5, b.probability_change_squares = 1.5;
  const std::vector<Window> windows = {{0, 3, 1}, {3, 3, 1}};
  const MeasuredWindows model{{&a, &b}, windows}, reference{{&reference_a, &reference_b}, windows};
  TokenStream stream;
  stream.ids.resize(6);
  stream.bytes_before = {0, 0, 3, 9, 13, 20, 22};
  stream.words_before = {0, 0, 1, 2, 2, 3, 3};
  const Perplexity perplexity = SummarizePerplexity(model, stream);
  CHECK(perplexity.nll.mean == 4.5);
  CHECK(perplexity.ppl == Approx(std::exp(4.5)));
  // Tokens 1, 2, 4 and 5 are scored: 18 NLL over their 9 + 9 bytes, in which 2 + 1 words begin.
  CHECK(*perplexity.word_ppl == Approx(std::exp(18.0 / 3)));
  CHECK(*perplexity.bits_per_byte == Approx(18 / std::log(2.0) / 18));
  CHECK_FALSE(perplexity.nll.interval.has_value());
  const Comparison comparison = SummarizeComparison(model, reference);
  CHECK(comparison.delta_nll.mean == 0.5);
  CHECK(comparison.kl.mean == 1);
  CHECK(comparison.kl_p50 == 0.875);
  CHECK(comparison.kl_max == 2);
  CHECK(comparison.top1.mean == 0.75);
  const auto rms = std::ranges::find(PlainFigures(), std::string_view("probability_change_rms"),
                                     &PlainFigure::field);
  CHECK(rms->of(model) == Approx(std::sqrt(0.5)));
}

}  // namespace
}  // namespace quantref
