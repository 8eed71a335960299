// Budgets as plans: what matrices get, what is pasted, what is refused.

#include "eval/facts/budget.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "eval/accuracy/sensitivity.h"
#include "eval/testing/read_config.h"
#include "eval/testing/tiny_models.h"
#include "harness/model/plan_model.h"
#include "harness/quant/grid.h"
#include "harness/quant/packed_matrix.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::TinyModels;

constexpr size_t kBudgetTokens = 48;

// A cell of the tiny model under that budget; its groups are 16 inputs, so that 3, 4 and 8 bits
// take 4.19, 5.25 and 9.5 with their scales.
CellConfig CellUnder(const std::string& budget, const std::string& more = "",
                     const std::string& method = "rtn",
                     const std::string& weights = "{group: 16}") {
  return testing::ReadConfigText("name: x\nquantize: {methods: [" + method +
                                 "], weights: " + weights + ", budget: " + budget + more + "}\n")
      .cells[0];
}

// Losses that are large for one matrix and fall with the bits in all.
Losses LossesFor(const CellConfig& cell, const ModelConfig& config, const std::string& sensitive) {
  Losses losses;
  double scale = 1;
  for (const PlannedLinear& linear : PlanModel(cell.quantize, config)) {
    std::vector<double>& own = losses.emplace_back();
    scale *= 1.01;  // no two alike
    if (!linear.scheme) continue;
    for (const size_t bits : cell.budget->choices)
      own.push_back(scale * (linear.shape.name == sensitive ? 1000 : 1) /
                    static_cast<double>(bits * bits * bits));
  }
  return losses;
}

// Stored bits a weight of the matrices that are quantized.
double AverageOf(const std::vector<PlannedLinear>& plan) {
  double bits = 0, weights = 0;
  for (const PlannedLinear& linear : plan) {
    if (!linear.scheme) continue;
    const auto& [name, rows, cols] = linear.shape;
    bits += static_cast<double>(PackedStorageBits(rows, cols, *linear.scheme, false));
    weights += static_cast<double>(rows * cols);
  }
  return bits / weights;
}

size_t BitsIn(const BudgetPlan& plan, const std::string& name) {
  const auto matrix = std::find_if(plan.matrices.begin(), plan.matrices.end(),
                                   [&](const auto& entry) { return entry.name == name; });
  REQUIRE(matrix != plan.matrices.end());
  return matrix->bits;
}

// The cell with the plan pasted behind its overrides, as an ordinary config.
CellConfig Pasted(const CellConfig& cell, const BudgetPlan& plan) {
  CellConfig pasted = cell;
  pasted.budget.reset();
  auto& overrides = pasted.quantize.overrides;
  overrides.insert(overrides.end(), plan.overrides.begin(), plan.overrides.end());
  return pasted;
}

}  // namespace

TEST_CASE("budget: plans stay under it and give what is sensitive the most") {
  const TinyModels models({.layers = 3}, {}, kBudgetTokens);
  const std::string sensitive = "layers.1.self_attn.v_proj";
  for (const std::string bits : {"4.2", "5.25", "6", "8.3"}) {
    const CellConfig cell = CellUnder("{bits: " + bits + "}");
    const Losses losses = LossesFor(cell, models.config(), sensitive);
    const BudgetPlan plan = PlanUnderBudget(cell, models.config(), losses);
    CHECK(plan.average_bits <= cell.budget->bits);
    CHECK(plan.average_bits == Approx(AverageOf(plan.plan)));
    CHECK(plan.matrices.size() == 21);
    CHECK(*plan.loss <= *plan.uniform_loss);
    if (bits != "4.2") CHECK(BitsIn(plan, sensitive) == 8);
  }
}

TEST_CASE("budget: uniform and random ones need no losses") {
  const TinyModels models({}, {}, kBudgetTokens);
  const BudgetPlan uniform =
      PlanUnderBudget(CellUnder("{bits: 5.3, rule: uniform}"), models.config());
  for (const auto& matrix : uniform.matrices) CHECK(matrix.bits == 4);
  CHECK(uniform.average_bits == uniform.uniform_average_bits);
  CHECK(!uniform.loss);
  CHECK(uniform.overrides.size() == 7);  // one for each kind
  const auto drawn = [&](const std::string& seed) {
    return PlanUnderBudget(CellUnder("{bits: 5.3, rule: random, seed: " + seed + "}"),
                           models.config());
  };
  CHECK(drawn("1").average_bits <= 5.3);
  CHECK(drawn("1").average_bits > 5);
  CHECK(AverageOf(drawn("1").plan) == Approx(drawn("1").average_bits));
  std::vector<size_t> a, b;
  for (const auto& matrix : drawn("1").matrices) a.push_back(matrix.bits);
  for (const auto& matrix : drawn("2").matrices) b.push_back(matrix.bits);
  CHECK(a != b);
}

TEST_CASE("budget: its overrides, pasted, are the plan, whatever the config overrides") {
  const std::string others[] = {
      "",
      ", overrides: [{match: 'layers.1.*', group: 8, symmetric: true}, {match: '*.down_proj', "
      "method: gptq}]",
      ", overrides: [{match: 'layers.0.mlp.*', keep: true}]",
      ", keep: []",
      ", keep: [], overrides: [{match: lm_head, method: gptq}]",
      ", keep: [embed_tokens, lm_head, 'layers.2.self_attn.*']"};
  for (const bool tied : {false, true}) {
    const TinyModels models({.layers = 4, .tied = tied}, {}, kBudgetTokens);
    for (const std::string& more : others) {
      INFO(more << (tied ? ", tied" : ""));
      for (const char* method : {"rtn", "gptq"}) {
        const CellConfig cell = CellUnder("{bits: 5.6, rule: random}", more, method);
        const BudgetPlan plan = PlanUnderBudget(cell, models.config());
        const auto pasted = PlanModel(Pasted(cell, plan).quantize, models.config());
        REQUIRE(pasted.size() == plan.plan.size());
        const auto before = PlanModel(cell.quantize, models.config());
        for (size_t i = 0; i < pasted.size(); ++i) {
          CHECK(pasted[i].scheme == plan.plan[i].scheme);
          CHECK(pasted[i].method == before[i].method);
          CHECK(pasted[i].scheme.has_value() == before[i].scheme.has_value());
          if (before[i].scheme)
            CHECK(pasted[i].scheme->bits == static_cast<int>(BitsIn(plan, pasted[i].shape.name)));
        }
      }
    }
  }
}

TEST_CASE("budget: the text that people see is a list that a config takes") {
  const TinyModels models({.layers = 3}, {}, kBudgetTokens);
  const CellConfig cell = CellUnder("{bits: 6}");
  const BudgetPlan plan = PlanUnderBudget(cell, models.config(),
                                          LossesFor(cell, models.config(), "layers.2.mlp.up_proj"));
  const std::string text = BudgetText("x rtn", *cell.budget, plan);
  INFO(text);
  CHECK(testing::Contains(text, "x rtn: "));
  CHECK(testing::Contains(text, "of 6 bits a weight by sensitivity"));
  CHECK(testing::Contains(text, "with 4 bits for all (5.2500 a weight)"));
  const RunConfig pasted =
      testing::ReadConfigText("name: x\nquantize:\n  methods: [rtn]\n  weights: {group: 16}\n" +
                              text.substr(text.find("  overrides:")));
  const auto again = PlanModel(pasted.cells[0].quantize, models.config());
  for (size_t i = 0; i < again.size(); ++i) CHECK(again[i].scheme == plan.plan[i].scheme);
}

TEST_CASE("budget: what no assignment can have is refused with what would do") {
  const TinyModels models({}, {}, kBudgetTokens);
  CHECK_ERROR(PlanUnderBudget(CellUnder("{bits: 4}"), models.config()), "quantize.budget.bits",
              "at least 4.1875 bits", "3-bit codes", "found 4");
  CHECK_ERROR(PlanUnderBudget(CellUnder("{bits: 9.6}"), models.config()), "at most 9.5000 bits",
              "8-bit codes", "found 9.6");
  CHECK_NOTHROW(PlanUnderBudget(CellUnder("{bits: 9.5}"), models.config()));
  // Columns in an order of their own are stored, too.
  const CellConfig ordered =
      CellUnder("{bits: 9.5}", ", gptq: {act_order: true, static_groups: false}", "gptq");
  CHECK_NOTHROW(PlanUnderBudget(ordered, models.config()));
  CHECK(PlanUnderBudget(ordered, models.config()).average_bits <= 9.5);
}

// Of a model whose weights are the points of 2-bit grids, which 4 and 8 bits hold too, rounding
// changes next to nothing; but of the one matrix that is as it was.
TEST_CASE("budget: a planted sensitive matrix is measured as such and gets the most bits") {
  const TinyModels models({.layers = 3}, {}, kBudgetTokens);
  const CellConfig cell =
      CellUnder("{bits: 4, choices: [2, 4, 8]}", "", "rtn", "{group: 16, symmetric: true}");
  const std::string planted = "layers.1.mlp.gate_proj";
  ModelWeights weights = models.transformer(0).weights();
  for (Linear* linear : AllLinears(weights)) {
    if (linear->name == planted) continue;
    const PackedMatrix packed =
        RoundToNearest(linear->weight.Decode().view(), {.bits = 2, .group = 16, .symmetric = true});
    Matrix<float> values(packed.rows(), packed.cols());
    for (size_t r = 0; r < packed.rows(); ++r) packed.DecodeRow(r, values.view().row_span(r));
    linear->weight = Weight(std::move(values));
  }
  const auto before = PlanModel(cell.quantize, models.config());
  const std::vector<std::vector<uint32_t>> samples = {
      testing::RandomStream(kBudgetTokens, models.config().vocab, 5).ids};
  const auto losses = [&](size_t threads) {
    return MeasureSensitivity(models.config(), weights, before, cell.budget->choices, samples,
                              {.threads = threads});
  };
  const Losses one = losses(1), three = losses(3);
  CHECK(one == three);
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i].shape.name == planted)
      CHECK(one[i][0] > 1e-4);
    else if (before[i].scheme)
      CHECK(one[i][0] < 1e-6);
  }
  const BudgetPlan plan = PlanUnderBudget(cell, models.config(), one);
  CHECK(BitsIn(plan, planted) == 8);
  CHECK(plan.average_bits <= 4);
  for (size_t i = 0; i < before.size(); ++i)
    CHECK(plan.plan[i].scheme == PlanUnderBudget(cell, models.config(), three).plan[i].scheme);
}

}  // namespace quantref
