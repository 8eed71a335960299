#include "eval/facts/texts.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::Contains;

// Of the windows given: NLL sums of a reference and of a model that is worse by so much a token.
ScoreTable Scores(size_t measured, size_t windows, double worse) {
  ScoreTable scores(2, std::vector<std::optional<WindowScores>>(windows));
  for (size_t w = 0; w < measured; ++w) {
    const double nll = 30 + static_cast<double>(w % 3);
    scores[0][w].emplace().nll = nll;
    scores[1][w].emplace().nll = nll + 10 * worse;
  }
  return scores;
}

TEST_CASE("texts: a look says of how much it is, and gives what intervals there are") {
  const std::vector<Window> windows(40, Window{0, 11, 1});
  const std::string text = LookText({"fp16", "rtn"}, Scores(8, 40, 0.01), windows, 8, std::nullopt);
  CHECK(text.starts_with("after 8 of 40 windows, from anywhere in the text:\n"));
  CHECK(Contains(text, "fp16"));
  CHECK(Contains(text, "rtn"));
  CHECK(Contains(text, "21.9"));  // exp of 247 nats over 80 tokens
  CHECK(Contains(text, "1.01"));  // exp(0.01) - 1 in percent
}

}  // namespace
}  // namespace quantref
