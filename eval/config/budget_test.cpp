// The keys of a budget: what they mean together, and what is refused.

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/testing/read_config.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::ReadConfigLine;
using testing::ReadConfigText;

// The line of a config with one rtn cell under this budget, and what else the section says.
std::string BudgetLine(const std::string& budget, const std::string& more = "") {
  return "quantize: {methods: [rtn], budget: " + budget + more + "}";
}

}  // namespace

TEST_CASE("budget keys: a cell has the section's, with what is other of its own") {
  CHECK(!ReadConfigLine("quantize: {methods: [rtn]}").cells[0].budget);
  const RunConfig config = ReadConfigText(
      "name: x\n"
      "quantize:\n"
      "  methods:\n"
      "  - gptq\n"
      "  - {method: rtn, label: r, budget: {rule: random, seed: 7}}\n"
      "  - {method: rtn, label: u, budget: {bits: 5, rule: uniform}}\n"
      "  - {method: rtn, label: n, budget: none}\n"
      "  budget: {bits: 4.5, choices: [8, 2, 4], samples: 3, length: 64}\n");
  const BudgetSpec expected{.bits = 4.5, .choices = {2, 4, 8}, .samples = 3, .length = 64};
  CHECK(config.general.budget == expected);
  CHECK(config.cells[0].budget == expected);
  BudgetSpec random = expected;
  random.rule = BudgetRule::kRandom;
  random.seed = 7;
  CHECK(config.cells[1].budget == random);
  CHECK(config.cells[2].budget->bits == 5);
  CHECK(config.cells[2].budget->rule == BudgetRule::kUniform);
  CHECK(config.cells[2].budget->choices == expected.choices);
  CHECK(!config.cells[3].budget);
  CHECK(ReadConfigLine(BudgetLine("{}")).cells[0].budget == BudgetSpec{});
}

TEST_CASE("budget keys: a list of bits is a study") {
  const testing::TempDir dir;
  testing::WriteFile(dir / "c.yaml", "name: x\n" + BudgetLine("{bits: [3.5, 4.25]}") + "\n");
  const auto points = ReadRunConfigs((dir / "c.yaml").string(), {});
  REQUIRE(points.size() == 2);
  CHECK(points[0].name == "x-b3.5");
  CHECK(points[1].cells[0].budget->bits == 4.25);
}

TEST_CASE("budget keys: what cannot be is refused in a message") {
  testing::CheckBadLines({
      {BudgetLine("{bits: 2.5}"),
       {"quantize.budget", "rtn: ", "above the least choice", "3", "2.5"}},
      {BudgetLine("{bits: 1}"), {"quantize.budget.bits", "from 2 to 16"}},
      {BudgetLine("{choices: [4]}"), {"quantize.budget", "two numbers of bits or more"}},
      {BudgetLine("{choices: [4, 4, 8]}"), {"quantize.budget.choices", "different"}},
      {BudgetLine("{choices: [3, 9]}"), {"quantize.budget.choices", "9"}},
      {BudgetLine("{rule: ramdom}"), {"quantize.budget.rule", "random"}},
      {BudgetLine("{bitz: 4}"), {"bitz", "bits"}},
      {BudgetLine("{samples: 0}"), {"quantize.budget.samples"}},
      {BudgetLine("{}", ", weights: {format: nf4}"), {"nf4", "codes have 4", "int, float_zero"}},
      {BudgetLine("{}", ", weights: none"), {"weights: none"}},
      {BudgetLine("{}", ", overrides: [{match: '*.q_proj', bits: 8}]"),
       {"'*.q_proj'", "its bits", "may have keep"}},
      {BudgetLine("{}", ", overrides: [{match: '*.q_proj', format: nf4}]"), {"its format"}},
      {"quantize: {methods: [{method: full, label: f, budget: {}}]}", {"f: ", "full"}},
      {BudgetLine("{}") + "\nmodel: {synthetic: tiny}", {"random weights", "budget"}},
  });
  // What bits leave open may stand beside a budget.
  CHECK_NOTHROW(ReadConfigLine(BudgetLine(
      "{}", ", overrides: [{match: a, keep: true}, {match: b, method: gptq, group: 32}]")));
}

}  // namespace quantref
