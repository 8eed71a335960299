#include <nlohmann/json.hpp>

#include "eval/config/quantize_keys.h"
#include "eval/config/resolved_json.h"
#include "eval/facts/budget.h"
#include "eval/records/record_parts.h"

namespace quantref {
namespace {

RecordJson BudgetTextJson(const GroupResult& group, const CalibrationSet& set) {
  RecordJson json = SourceJson(set);
  const size_t samples = set.data.samples.size();
  json["samples"] = samples;
  json["length"] = set.length;
  if (samples < set.asked_samples) json["cut_from_samples"] = set.asked_samples;
  if (set.length < set.asked_length) json["cut_from_length"] = set.asked_length;
  json["text_tokens"] = set.text_tokens;
  json["distinct_tokens"] = set.DistinctTokens(samples);
  json["token_sha256"] = set.TokenSha256(samples);
  PutOverlap(group, set, json);
  return json;
}

RecordJson BudgetMatricesJson(const BudgetPlan& plan) {
  RecordJson json = RecordJson::array();
  for (const BudgetPlan::Entry& matrix : plan.matrices) {
    RecordJson entry = {{"name", matrix.name}, {"bits", matrix.bits}};
    if (!matrix.losses.empty()) entry["kl"] = matrix.losses;
    json.push_back(std::move(entry));
  }
  return json;
}

}  // namespace

void PutBudget(RecordJson& record, const GroupResult& group, const CellResult& cell) {
  if (cell.budget == nullptr) return;
  const BudgetSpec& spec = *cell.spec->budget;
  const BudgetPlan& plan = *cell.budget;
  RecordJson json = {
      {"rule", BudgetRuleName(spec.rule)}, {"bits", spec.bits},
      {"choices", spec.choices},           {"average_bits", plan.average_bits},
      {"uniform_bits", plan.uniform_bits}, {"uniform_average_bits", plan.uniform_average_bits}};
  if (spec.rule != BudgetRule::kUniform) json["seed"] = spec.seed;
  if (plan.loss) json["kl_sum"] = *plan.loss;
  if (plan.uniform_loss) json["uniform_kl_sum"] = *plan.uniform_loss;
  if (cell.budget_text != nullptr) json["calibration"] = BudgetTextJson(group, *cell.budget_text);
  json["overrides"] = OverridesJson(plan.overrides);
  json["matrices"] = BudgetMatricesJson(plan);
  record["budget"] = std::move(json);
}

}  // namespace quantref
