#include "eval/run/cost.h"

#include <catch2/catch.hpp>
#include <vector>

#include "eval/accuracy/accuracy.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

TEST_CASE("cost: memory counts the logits of every window at work, and what each thread needs") {
  const testing::TempDir dir;
  testing::WriteTinyModel(dir.path(), {});
  testing::WriteLetterTokenizer(dir.path());
  const Model model = LoadModel("tiny", dir.path(), WeightType::kNative, 1);
  const auto memory = [&](size_t cells, bool compare, size_t windows, size_t threads) {
    const std::vector<CellLoad> loads(cells);
    return EstimateMemory(model, windows, 64, loads, compare, threads);
  };
  const auto logits = [&](size_t models, bool compare) {
    return static_cast<double>(LogitBytes(model.config.vocab, models, compare));
  };
  CHECK(memory(1, true, 9, 1) - memory(0, true, 9, 1) == Approx(logits(2, true) - logits(1, true)));
  CHECK(memory(2, true, 9, 3) - memory(2, false, 9, 3) ==
        Approx(3 * (logits(3, true) - logits(3, false))));
  // One window on many threads: its logits once, but panels and scores of every thread.
  const double team = memory(2, true, 1, 4) - memory(2, true, 1, 1);
  CHECK(team > 0);
  CHECK(team == Approx(memory(0, true, 1, 4) - memory(0, true, 1, 1)));
  CHECK(memory(2, true, 4, 4) - memory(2, true, 1, 4) > 3 * logits(3, true));
}

}  // namespace
}  // namespace quantref
