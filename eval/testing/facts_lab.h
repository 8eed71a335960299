#pragma once

#include <memory>
#include <string>

#include "eval/candidate/candidate.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"
#include "eval/pass/shard_work.h"
#include "eval/testing/read_config.h"
#include "eval/testing/run_eval_lab.h"

namespace quantref::testing {

// What a run of a config of the lab's tiny model would depend on.
struct FactsLab {
  FactsLab() {
    group.model = std::make_shared<const Model>(LoadTiny());
    group.text.sha256 = "of the text";
    group.stream.sha256 = "of the tokens";
    group.windows = {{0, 8, 1}, {8, 8, 1}};
    group.all_windows = 7;
    cells = {{.config = &first, .label = "fp32", .weights_sha256 = "a"},
             {.config = &first, .label = "rtn", .weights_sha256 = "b"}};
  }

  Model LoadTiny() const { return LoadModel("model", lab / "model", WeightType::kNative, 1); }

  // Makes the second cell a candidate of the same files, whose config.json has this hash.
  void MakeCandidate(const std::string& config_sha256) {
    Candidate candidate{.model = LoadTiny(), .stored = {}};
    candidate.model.config.sha256 = config_sha256;
    cells[1].candidate = std::make_shared<const Candidate>(std::move(candidate));
  }

  RunEvalLab lab;
  RunConfig first = ReadConfigText(lab.ConfigText("first")),
            second = ReadConfigText(lab.ConfigText("second"));
  RunOptions options{};
  RunEta eta{};
  ShardWork shards{};
  OneProcess alone{};
  GroupContext group{options, {&first, &second}, 1, eta, shards, alone};
  Pass cells;
};

}  // namespace quantref::testing
