#include "eval/facts/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "eval/config/quantize_keys.h"
#include "eval/config/resolved_json.h"
#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/glob.h"
#include "harness/method/method.h"
#include "harness/model/plan_model.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {
namespace {

constexpr char kBudgetBits[] = "quantize.budget.bits";

WeightScheme WithBits(WeightScheme scheme, size_t bits) {
  scheme.bits = static_cast<int>(bits);
  return scheme;
}

// A budget at work: which matrices of the plan it is for, and what they may be.
struct BitShares {
  std::vector<size_t> planned;  // places in the plan
  std::vector<MatrixChoices> choices;
  double weights = 0;

  double Average(const Assignment& assignment) const {
    return static_cast<double>(StoredBits(choices, assignment)) / weights;
  }
};

BitShares BitSharesOf(const CellConfig& cell, const std::vector<PlannedLinear>& plan,
                      const Losses& losses) {
  const Method method = cell.MakeMethod();
  BitShares shares;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (!plan[i].scheme) continue;
    const auto& [name, rows, cols] = plan[i].shape;
    const Rounder& rounder = method.RounderFor(plan[i]);
    MatrixChoices choices;
    for (size_t c = 0; c < cell.budget->choices.size(); ++c) {
      const WeightScheme scheme = WithBits(*plan[i].scheme, cell.budget->choices[c]);
      const bool ordered = rounder.Reorders(scheme, method.KnobsOf(rounder));
      choices.push_back(
          {PackedStorageBits(rows, cols, scheme, ordered), losses.empty() ? 0 : losses[i].at(c)});
    }
    shares.planned.push_back(i);
    shares.choices.push_back(std::move(choices));
    shares.weights += static_cast<double>(rows) * static_cast<double>(cols);
  }
  return shares;
}

// What all matrices together may store.
uint64_t BitsOf(const BudgetSpec& spec, const BitShares& shares) {
  const size_t count = shares.choices.size(), most = spec.choices.size() - 1;
  const double least = shares.Average(Assignment(count, 0));
  const double greatest = shares.Average(Assignment(count, most));
  const auto budget = static_cast<uint64_t>(spec.bits * shares.weights);
  if (StoredBits(shares.choices, Assignment(count, 0)) > budget) {
    throw Error(fmt::format("expected a budget of at least {:.4f} bits, which {}-bit codes with "
                            "their scales take in all matrices, found {}",
                            least, spec.choices.front(), spec.bits),
                kBudgetBits, "raise it, or add a choice of fewer bits");
  }
  if (spec.bits > greatest) {
    throw Error(fmt::format("expected a budget of at most {:.4f} bits, which {}-bit codes with "
                            "their scales take in all matrices, found {}",
                            greatest, spec.choices.back(), spec.bits),
                kBudgetBits, "lower it, or add a choice of more bits");
  }
  return budget;
}

Assignment AssignBy(const BudgetSpec& spec, const BitShares& shares, uint64_t bits, bool measured) {
  if (spec.rule == BudgetRule::kUniform) return AssignUniform(shares.choices, bits);
  if (spec.rule == BudgetRule::kSensitivity && measured)
    return AssignLeastLoss(shares.choices, bits);
  return AssignRandom(shares.choices, bits, spec.seed);
}

// What a matrix is called below its block; "" outside of all.
std::string_view KindOf(std::string_view name) {
  constexpr std::string_view kBlocks = "layers.";
  if (!name.starts_with(kBlocks)) return "";
  const size_t dot = name.find('.', kBlocks.size());
  return dot == std::string_view::npos ? "" : name.substr(dot + 1);
}

// Puts a plan into few overrides.
class OverrideWriter {
 public:
  // bits: by place in the plan; 0: not of the budget.
  OverrideWriter(const CellConfig& cell, const ModelConfig& config,
                 const std::vector<PlannedLinear>& plan, std::vector<size_t> bits)
      : own_(cell.quantize.overrides),
        tied_(config.tied_head),
        plan_(plan),
        bits_(std::move(bits)) {}

  std::vector<SchemeOverride> Write() {
    std::vector<std::string_view> kinds;  // in the order of a block
    for (const PlannedLinear& linear : plan_) {
      const std::string_view kind = KindOf(linear.shape.name);
      if (!kind.empty() && std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
        kinds.push_back(kind);
    }
    for (const std::string_view kind : kinds) WriteKind(kind);
    for (size_t i = 0; i < plan_.size(); ++i) {
      if (bits_[i] > 0) Add(plan_[i].shape.name, Own(i), bits_[i]);
    }
    return std::move(written_);
  }

 private:
  // The config's override that holds for the matrix; nullptr: none does.
  const SchemeOverride* Own(size_t place) const {
    const std::string& name = plan_[place].shape.name;
    const bool is_head = tied_ && name == kEmbeddingName;
    const auto own = std::find_if(own_.rbegin(), own_.rend(), [&](const SchemeOverride& entry) {
      return GlobMatches(entry.match, name) || (is_head && GlobMatches(entry.match, kHeadName));
    });
    return own == own_.rend() ? nullptr : &*own;
  }

  // One entry for what most of the kind get, where it would touch nothing else; those are done.
  void WriteKind(std::string_view kind) {
    const std::string pattern = fmt::format("layers.*.{}", kind);
    std::map<size_t, size_t> counts;  // by bits
    for (size_t i = 0; i < plan_.size(); ++i) {
      if (!GlobMatches(pattern, plan_[i].shape.name)) continue;
      if (bits_[i] == 0 || Own(i) != nullptr || KindOf(plan_[i].shape.name) != kind) return;
      ++counts[bits_[i]];
    }
    const auto most =
        std::max_element(counts.begin(), counts.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most->second < 2) return;
    Add(pattern, nullptr, most->first);
    for (size_t i = 0; i < plan_.size(); ++i) {
      if (bits_[i] == most->first && GlobMatches(pattern, plan_[i].shape.name)) bits_[i] = 0;
    }
  }

  void Add(const std::string& match, const SchemeOverride* own, size_t bits) {
    SchemeOverride entry = own == nullptr ? SchemeOverride{} : *own;
    entry.match = match;
    entry.bits = static_cast<int>(bits);
    written_.push_back(std::move(entry));
  }

  const std::vector<SchemeOverride>& own_;
  const bool tied_;
  const std::vector<PlannedLinear>& plan_;
  std::vector<size_t> bits_;
  std::vector<SchemeOverride> written_;
};

QuantizeSpec Behind(QuantizeSpec spec, const std::vector<SchemeOverride>& overrides) {
  spec.overrides.insert(spec.overrides.end(), overrides.begin(), overrides.end());
  return spec;
}

BudgetPlan PlanOf(const CellConfig& cell, const ModelConfig& config,
                  const std::vector<PlannedLinear>& before, const BitShares& shares,
                  const Assignment& assignment) {
  BudgetPlan made;
  std::vector<size_t> bits(before.size(), 0);
  for (size_t s = 0; s < shares.planned.size(); ++s)
    bits[shares.planned[s]] = cell.budget->choices[assignment[s]];
  made.overrides = OverrideWriter(cell, config, before, bits).Write();
  made.plan = PlanModel(Behind(cell.quantize, made.overrides), config);
  for (size_t i = 0; i < before.size(); ++i) {  // as if each had been planned by itself
    std::optional<WeightScheme> expected = before[i].scheme;
    if (expected) expected = WithBits(*expected, bits[i]);
    QR_CHECK(made.plan[i].scheme == expected && made.plan[i].method == before[i].method);
  }
  return made;
}

}  // namespace

BudgetPlan PlanUnderBudget(const CellConfig& cell, const ModelConfig& config,
                           const Losses& losses) {
  const BudgetSpec& spec = *cell.budget;
  const std::vector<PlannedLinear> before = PlanModel(cell.quantize, config);
  if (!QuantizesAny(before)) return {.overrides = {}, .plan = before, .matrices = {}};
  const BitShares shares = BitSharesOf(cell, before, losses);
  const uint64_t bits = BitsOf(spec, shares);
  const Assignment chosen = AssignBy(spec, shares, bits, !losses.empty());
  const Assignment uniform = AssignUniform(shares.choices, bits);
  BudgetPlan made = PlanOf(cell, config, before, shares, chosen);
  for (size_t s = 0; s < shares.planned.size(); ++s) {
    const size_t place = shares.planned[s];
    made.matrices.push_back({before[place].shape.name, spec.choices[chosen[s]],
                             losses.empty() ? std::vector<double>() : losses[place]});
  }
  made.average_bits = shares.Average(chosen);
  made.uniform_bits = spec.choices[uniform.front()];
  made.uniform_average_bits = shares.Average(uniform);
  if (losses.empty()) return made;
  made.loss = TotalLoss(shares.choices, chosen);
  made.uniform_loss = TotalLoss(shares.choices, uniform);
  return made;
}

std::vector<std::vector<PlannedLinear>> PlansOfChoices(const CellConfig& cell,
                                                       const ModelConfig& config) {
  std::vector<std::vector<PlannedLinear>> plans;
  for (const size_t bits : cell.budget->choices) {
    plans.push_back(PlanModel(cell.quantize, config));
    for (PlannedLinear& linear : plans.back()) {
      if (linear.scheme) linear.scheme = WithBits(*linear.scheme, bits);
    }
  }
  return plans;
}

std::string BudgetText(const std::string& name, const BudgetSpec& spec, const BudgetPlan& plan) {
  std::string text = fmt::format("{}: {:.4f} of {} bits a weight by {}", name, plan.average_bits,
                                 spec.bits, BudgetRuleName(spec.rule));
  if (plan.loss) {
    text += fmt::format(
        "; what each matrix costs alone adds up to a KL of {:.4g} nats, with {} bits for all "
        "({:.4f} a weight) to {:.4g}",
        *plan.loss, plan.uniform_bits, plan.uniform_average_bits, *plan.uniform_loss);
  }
  text += "\n  overrides:\n";
  const nlohmann::ordered_json entries = OverridesJson(plan.overrides);
  for (const auto& entry : entries) {
    std::string fields;
    for (const auto& [key, value] : entry.items())
      fields += fmt::format("{}{}: {}", fields.empty() ? "" : ", ", key, value.dump());
    text += fmt::format("  - {{{}}}\n", fields);
  }
  return text;
}

}  // namespace quantref
