#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "eval/config/budget_spec.h"
#include "eval/config/key_visitor.h"
#include "harness/method/quantizer.h"
#include "harness/quant/activation.h"
#include "harness/quant/plan.h"

namespace quantref {

// The keys of the `quantize` section and of an entry of its methods, as the others of sections.h:
// rows over what a map says. A map here says what is other than in a map around it (a cell's
// weights than the section's, an override's than the cell's), so that every value may be absent;
// read_quantize.h makes schemes of that. `methods`, where the section's keys come again, is its
// too.

inline constexpr size_t kMostGroup = size_t{1} << 20;
// `group: row`, `column` and `tensor`, by which a file or an axis of a study says the granularity.
inline constexpr const char* kGroupWords[] = {"row", "column", "tensor"};
// Each group of activations has an FP32 scale: of fewer numbers it is most of what they are.
inline constexpr size_t kLeastActivationGroup = 8;

inline constexpr Granularity kGranularities[] = {Granularity::kTensor, Granularity::kRow,
                                                 Granularity::kColumn, Granularity::kGroup};

struct SchemeKeys {
  std::optional<std::string> format{};
  std::optional<size_t> bits{};
  std::optional<std::string> granularity{};
  std::optional<size_t> group{};  // or that of one of kGroupWords
  std::optional<bool> double_quant{}, symmetric{}, full_range{}, zero_in_range{};
};

struct OverrideKeys {
  std::string match{};
  std::optional<bool> keep{};
  SchemeKeys scheme{};
  std::optional<std::string> method{};
};

struct ActivationKeys {
  std::optional<std::string> format{};
  std::optional<size_t> bits{};
  std::optional<std::string> granularity{};
  std::optional<size_t> group{};
  std::optional<bool> dynamic{};
  std::optional<double> outlier_threshold{};  // 0: none
  std::optional<std::string> outlier_weights{};
};

// `weights`, `activations`: a map, or none.
void VisitWeights(KeyVisitor& visitor, std::optional<SchemeKeys>& weights);
void VisitActivations(KeyVisitor& visitor, std::optional<ActivationKeys>& activations);
void VisitBudget(KeyVisitor& visitor, std::optional<BudgetSpec>& budget);  // likewise
void VisitKeep(KeyVisitor& visitor, std::vector<std::string>& keep);
void VisitOverride(KeyVisitor& visitor, OverrideKeys& entry);                    // of the list
void VisitMethod(KeyVisitor& visitor, std::string& method, std::string& label);  // of its list
void VisitKnobs(KeyVisitor& visitor, Knobs& knobs);  // the map of a method

// The word of `activations.granularity` for it.
std::string ReachOf(const ActivationScheme& scheme);

// What a config says by saying nothing, where a scheme has such a value.
SchemeKeys DefaultWeightKeys();
ActivationKeys DefaultActivationKeys();

// What a config says to have the scheme: every value that it leaves a choice of.
SchemeKeys KeysOf(const WeightScheme& scheme);
OverrideKeys KeysOf(const SchemeOverride& entry);
ActivationKeys KeysOf(const ActivationScheme& scheme);

}  // namespace quantref
