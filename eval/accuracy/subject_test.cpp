#include "eval/accuracy/subject.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <vector>

#include "eval/accuracy/accuracy.h"
#include "eval/accuracy/kernel_path.h"
#include "eval/testing/counter.h"
#include "eval/testing/tiny_models.h"

namespace quantref {
namespace {

using testing::Counter;

constexpr size_t kWords = Counter::kWords;

TEST_CASE("subject: what is no transformer is measured like one") {
  TokenStream stream = testing::RandomStream(40, kWords, 1);
  for (size_t t = 0; t < stream.ids.size(); ++t) stream.ids[t] = static_cast<uint32_t>(t % kWords);
  const Counter sure(5), unsure(0);
  const std::vector<const Subject*> models = {&sure, &unsure};
  const std::vector<Window> windows = {{0, 20, 1}, {20, 20, 1}};
  const std::vector<size_t> chosen = {0, 1};
  ScoreTable table(2, std::vector<std::optional<WindowScores>>(2));
  std::vector<double> seconds(2);
  Evaluate(models, FindProtocol("gptq-2048"), stream, windows, chosen, {}, table, seconds);
  const double of_sure = std::log(std::exp(5.0) + kWords - 1) - 5, of_unsure = std::log(kWords);
  for (size_t w = 0; w < 2; ++w) {
    CHECK(table[0][w]->nll == Approx(19 * of_sure));
    CHECK(table[1][w]->nll == Approx(19 * of_unsure));
    CHECK(table[1][w]->kl > 0);
  }
}

TEST_CASE("subject: windows that are fewer than the threads have all of these at work") {
  const TokenStream stream = testing::RandomStream(40, kWords, 1);
  const std::vector<Window> windows(5, Window{0, 20, 1});
  const Counter counter(2);
  const auto teams = [&](std::vector<size_t> chosen, size_t threads) {
    ScoreTable table(1, std::vector<std::optional<WindowScores>>(windows.size()));
    std::vector<double> seconds(1);
    EvaluateOptions options;
    options.threads = threads;
    options.hash_window = windows.size();  // none
    const Subject* const models[] = {&counter};
    Evaluate(models, FindProtocol("gptq-2048"), stream, windows, chosen, options, table, seconds);
    for (const size_t w : chosen) CHECK(table[0][w] == table[0][chosen.front()]);
    return counter.Teams();
  };
  using Sizes = std::vector<size_t>;
  CHECK(teams({0, 1, 2, 3, 4}, 1) == Sizes{1});
  CHECK(teams({4}, 3) == Sizes{3});
  for (const size_t size : teams({1, 3}, 7)) CHECK((size == 3 || size == 4));  // one may do both
  CHECK(teams({0, 1, 2, 3}, 4).size() <= 4);  // those threads that came for one
  CHECK(teams({0, 2, 4}, 2).back() == 2);     // the last one's, once the others are done
}

TEST_CASE("subject: readers of one thread share the memory of their forwards") {
  const int bits[] = {4};
  const testing::TinyModels models({}, bits, 64);
  std::shared_ptr<Subject::Memory> memory;
  const auto first = models.pointers()[0]->MakeReader(memory, nullptr);
  const Subject::Memory* const made = memory.get();
  REQUIRE(made != nullptr);
  const auto second = models.pointers()[1]->MakeReader(memory, nullptr);
  CHECK(memory.get() == made);
  // One reads while the other still has its window.
  const std::vector<uint32_t> ids = {1, 5, 9, 2};
  const auto logits = [&](Subject::Reader& reader) {
    Matrix<float> result(ids.size(), models.config().vocab);
    reader.Logits(0, result.view());
    return std::vector<float>(result.data(), result.data() + result.rows() * result.cols());
  };
  first->Read(ids);
  const std::vector<float> alone = logits(*first);
  second->Read(ids);
  CHECK(logits(*first) == alone);
  CHECK(logits(*second) != alone);
}

TEST_CASE("subject: the logits of what is no transformer are compared like those of one") {
  const std::vector<uint32_t> ids = {3, 0, 10, 5, 7};
  std::shared_ptr<Subject::Memory> memory;
  const Counter sure(5), unsure(0);
  const auto expected = sure.MakeReader(memory, nullptr), same = sure.MakeReader(memory, nullptr),
             other = unsure.MakeReader(memory, nullptr);
  const PathGap none = MeasureLogitGap(*expected, *same, ids, kWords);
  CHECK(none.positions == ids.size());
  CHECK(none.kl_max == 0);
  CHECK(none.logit_max_abs == 0);
  CHECK(none.top1_agreement == 1);
  const PathGap gap = MeasureLogitGap(*expected, *other, ids, kWords);
  CHECK(gap.logit_max_abs == 5);
  CHECK(gap.logit_mean_abs == Approx(5.0 / kWords));
  const double rest = 1 / (std::exp(5.0) + kWords - 1), likely = std::exp(5.0) * rest;
  const double entropy = -likely * std::log(likely) - (kWords - 1) * rest * std::log(rest);
  CHECK(gap.kl_mean == Approx(std::log(kWords) - entropy));
  CHECK(gap.top1_agreement < 1);
  CHECK(gap.worst_linear == "");
  const GapLimits limits{1e-9, 1e-5};  // of the logits alone: there are no linears to compare
  CHECK(limits.LogitsHold(none));
  CHECK_FALSE(limits.LogitsHold(gap));
  CHECK(limits.LinearsHold(gap));
}

}  // namespace
}  // namespace quantref
