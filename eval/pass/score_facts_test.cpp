#include "eval/pass/score_facts.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "eval/testing/facts_lab.h"

namespace quantref {
namespace {

using testing::FactsLab;

TEST_CASE("score facts: a fingerprint is of all of them but how many windows were asked for") {
  FactsLab lab;
  const std::string fingerprint = Fingerprint(lab.group, lab.cells);
  std::set<std::string> prints = {fingerprint};
  const auto differs = [&](const auto& change) {
    FactsLab other;
    change(other);
    CHECK(prints.insert(Fingerprint(other.group, other.cells)).second);
    CHECK(FirstDifference(ScoreFacts(lab.group, lab.cells), ScoreFacts(other.group, other.cells)) !=
          "");
  };
  differs([](FactsLab& other) { other.group.text.sha256 = "of another with the same tokens"; });
  differs([](FactsLab& other) { other.group.stream.sha256 = "of others"; });
  differs([](FactsLab& other) { ++other.group.all_windows; });
  differs([](FactsLab& other) { other.cells[1].weights_sha256 = "c"; });
  differs([](FactsLab& other) { other.cells[1].path.linears = 1; });
  differs([](FactsLab& other) { std::swap(other.cells[0], other.cells[1]); });
  differs([](FactsLab& other) { other.cells.push_back(other.cells[1]); });
  differs([](FactsLab& other) { other.first.name = "third"; });
  differs([](FactsLab& other) { other.first.accuracy.window = 4; });
  differs([](FactsLab& other) { other.MakeCandidate("c"); });
  differs([](FactsLab& other) { other.MakeCandidate("another"); });

  FactsLab fewer;
  fewer.group.windows.pop_back();
  CHECK(Fingerprint(fewer.group, fewer.cells) == fingerprint);
  CHECK(FirstDifference(ScoreFacts(lab.group, lab.cells), ScoreFacts(fewer.group, fewer.cells)) ==
        "windows asked for: expected 2, found 1");
}

}  // namespace
}  // namespace quantref
