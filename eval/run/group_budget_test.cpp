#include "eval/run/group_budget.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "eval/testing/facts_lab.h"

namespace quantref {
namespace {

using testing::FactsLab;

// Both cells of the lab spend a budget by the same windows of the same text.
struct BudgetLab : FactsLab {
  BudgetLab() {
    for (size_t i = 0; i < 2; ++i) {
      specs[i] = first.cells[0];
      specs[i].budget.emplace();
      sets[i].data.samples = {{1, 2, 3}, {4, 5, 6}};
      cells[i].spec = &specs[i];
      cells[i].budget_text = &sets[i];
    }
  }
  size_t Tasks() const { return SensitivityTasks(group, std::span(&cells, 1)).size(); }
  std::string File(size_t cell) const { return BudgetFileOf(group, cells[cell]); }

  CellConfig specs[2];
  CalibrationSet sets[2];
};

TEST_CASE("group budget: cells that differ in nothing that is measured share one measurement",
          "[group_budget]") {
  BudgetLab lab;
  lab.specs[1].rounder = "gptq";
  lab.specs[1].quantize.weights.bits = 8;  // the choices are measured
  lab.specs[1].budget->bits = 6;
  lab.sets[1].length = 7;  // asked for otherwise, and drawn alike
  CHECK(lab.Tasks() == 1);
  CHECK(lab.File(0) == lab.File(1));
}

TEST_CASE(
    "group budget: what is measured otherwise is measured by itself, and kept in its own file",
    "[group_budget]") {
  std::set<std::string> files = {BudgetLab().File(0)};
  const auto differs = [&](const auto& change) {
    BudgetLab lab;
    change(lab);
    CHECK(lab.Tasks() == 2);
    CHECK(files.insert(lab.File(1)).second);
  };
  differs([](BudgetLab& lab) { lab.sets[1].data.samples[1] = {4, 5, 7}; });
  differs([](BudgetLab& lab) { lab.specs[1].budget->choices = {3, 4}; });
  differs([](BudgetLab& lab) { lab.specs[1].quantize.weights.group = 32; });
  differs([](BudgetLab& lab) { lab.specs[1].quantize.weights.symmetric = true; });
  differs([](BudgetLab& lab) { lab.specs[1].quantize.keep.push_back("layers.0.*"); });

  BudgetLab wide;
  wide.first.model.weight_type = WeightType::kFp16;
  CHECK(files.insert(wide.File(0)).second);
  wide.first.model.outliers.emplace();
  CHECK(files.insert(wide.File(0)).second);
}

}  // namespace
}  // namespace quantref
