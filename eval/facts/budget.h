#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "harness/model/config.h"
#include "harness/quant/assign_bits.h"
#include "harness/quant/plan.h"

namespace quantref {

// A cell's budget becomes a plan, once, before anything is quantized: bits for each matrix that the
// config quantizes, which go on as overrides behind the config's own.

// What was made of a budget.
struct BudgetPlan {
  std::vector<SchemeOverride> overrides;  // behind the config's own they give the plan
  std::vector<PlannedLinear> plan;        // of the whole model
  // Matrices under the budget, in the model's order, with their bits, and the loss that was
  // measured with each of the choices (empty: none was).
  struct Entry {
    std::string name;
    size_t bits;
    std::vector<double> losses;
  };
  std::vector<Entry> matrices;
  double average_bits = 0;  // stored a weight of these
  // Of the highest choice that all can have under the budget.
  size_t uniform_bits = 0;
  double uniform_average_bits = 0;
  // Sums of the losses, of this plan and of the uniform one; where they were measured.
  std::optional<double> loss{}, uniform_loss{};
  double seconds = 0;  // of the measurement
};

// By its place in the plan, of each matrix that the cell's plan quantizes: its losses by choice;
// empty where they were not measured.
using Losses = std::vector<std::vector<double>>;

// The plan of a cell with a budget for the model as the cell's method leaves it. Without losses
// that of rule `sensitivity` is a stand-in of the same size, drawn at random; the other rules look
// at none. Throws Error where the budget holds less than the least choice of all, or more than the
// greatest takes, and as PlanModel does.
BudgetPlan PlanUnderBudget(const CellConfig& cell, const ModelConfig& config,
                           const Losses& losses = {});

// The plans in which all matrices of the budget have the same choice, for checks of what a method
// supports.
std::vector<std::vector<PlannedLinear>> PlansOfChoices(const CellConfig& cell,
                                                       const ModelConfig& config);

// The plan as people are told it: what it comes to, and overrides to be pasted.
std::string BudgetText(const std::string& name, const BudgetSpec& spec, const BudgetPlan& plan);

}  // namespace quantref
