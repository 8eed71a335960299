#include "eval/pass/group_share.h"

#include <catch2/catch.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eval/inputs/group_cell.h"
#include "eval/pass/shard_work.h"
#include "harness/io/binary.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

// The first of three processes, of which the last gets all units, and gives this for each.
class LastDoesAll final : public Workers {
 public:
  explicit LastDoesAll(std::string result) : result_(std::move(result)) {}
  size_t size() const override { return 3; }
  std::vector<std::string> hosts() const override { return {"a", "b", "c"}; }
  void Deal(std::span<const size_t> units, size_t, const Work&, const Take& take) override {
    for (const size_t unit : units) take(unit, 2, result_);
  }

 private:
  const std::string result_;
};

// What a process gives of a cell that it could not make.
std::string NotMade(const Error& error) {
  std::string bytes(1, '\0');
  for (const std::string& part : {error.problem(), error.where(), error.hint()})
    PutList(bytes, part);
  return bytes;
}

TEST_CASE("group share: a dealt cell that fails is told with the process that it failed in") {
  RunOptions options;
  options.quiet = true;
  RunConfig config;
  config.name = "int4";
  RunEta eta;
  ShardWork shards;
  LastDoesAll workers(NotMade(Error("odd weights", "layers.0", "mend them")));
  GroupContext group{.options = options,
                     .configs = {&config},
                     .threads = 1,
                     .eta = eta,
                     .shards = shards,
                     .workers = workers};
  GroupCell cell{.config = &config, .label = "gptq"};
  std::vector<const GroupCell*> failed;
  const auto quantize = [&] {
    QuantizeDealt(
        group, {&cell}, {&cell}, [](GroupCell&) {}, failed);
  };
  CHECK_ERROR(quantize(), "rank 2 on c: layers.0: odd weights", "hint: mend them");
}

// Of three the second and the third fail.
class TwoFail final : public OneProcess {
 public:
  size_t size() const override { return 3; }
  std::vector<std::string> hosts() const override { return {"a", "b", "c"}; }
  std::vector<std::string> Collect(std::string own) override {
    const auto failure = [](const char* what) { return NotMade(Error(what, "")).substr(1); };
    return {std::move(own), failure("no disk"), failure("no memory")};
  }
};

TEST_CASE("group share: a step that fails in several processes is told of the first of them") {
  TwoFail workers;
  CHECK_ERROR(StepOfAll(workers, [] {}), "rank 1 on b: no disk");
  CHECK_ERROR(StepOfAll(workers, [] { throw Error("no text", "here"); }), "here: no text");
}

}  // namespace
}  // namespace quantref
