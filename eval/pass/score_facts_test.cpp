#include "eval/pass/score_facts.h"

#include <catch2/catch.hpp>
#include <memory>
#include <set>
#include <string>

#include "eval/pass/shard_work.h"
#include "eval/testing/read_config.h"
#include "eval/testing/run_eval_lab.h"

namespace quantref {
namespace {

// What a run of a config of the lab's tiny model would depend on.
struct FactsLab {
  FactsLab() {
    group.model =
        std::make_shared<const Model>(LoadModel("model", lab / "model", WeightType::kNative, 1));
    group.text.sha256 = "of the text";
    group.stream.sha256 = "of the tokens";
    group.windows = {{0, 8, 1}, {8, 8, 1}};
    group.all_windows = 7;
    cells = {{.config = &first, .label = "fp32", .weights_sha256 = "a"},
             {.config = &first, .label = "rtn", .weights_sha256 = "b"}};
  }

  testing::RunEvalLab lab;
  RunConfig first = testing::ReadConfigText(lab.ConfigText("first")),
            second = testing::ReadConfigText(lab.ConfigText("second"));
  RunOptions options{};
  RunEta eta{};
  ShardWork shards{};
  OneProcess alone{};
  GroupContext group{options, {&first, &second}, 1, eta, shards, alone};
  Pass cells;
};

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

  FactsLab fewer;
  fewer.group.windows.pop_back();
  CHECK(Fingerprint(fewer.group, fewer.cells) == fingerprint);
  CHECK(FirstDifference(ScoreFacts(lab.group, lab.cells), ScoreFacts(fewer.group, fewer.cells)) ==
        "windows asked for: expected 2, found 1");
}

}  // namespace
}  // namespace quantref
