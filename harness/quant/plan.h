#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/quant/scheme.h"

namespace quantref {

// One `overrides` entry: the linears whose names match the glob get these values in the place of
// the general ones.
struct SchemeOverride {
  std::string match;
  bool keep = false;                     // stays as the checkpoint has it
  const NumberFormat* format = nullptr;  // nullptr: the general one; else with its own defaults
  std::optional<int> bits;
  std::optional<Granularity> granularity;
  std::optional<size_t> group;  // implies kGroup unless a granularity is given too
  std::optional<bool> symmetric, full_range, zero_in_range, double_quant;
  std::string method;  // the rounder; "": the general one
};

// What the `quantize` section of a config asks for, method apart.
struct QuantizeSpec {
  WeightScheme weights;
  bool none = false;  // no linear is quantized, whatever else is said
  std::vector<std::string> keep = {"embed_tokens",
                                   "lm_head"};  // globs of linears that stay as they are
  std::vector<SchemeOverride> overrides;        // the last one that matches wins, over `keep` too
};

// The shape of one linear of a model.
struct LinearShape {
  std::string name;
  size_t rows, cols;
};

// One linear's fate: its scheme, or nothing where it is kept.
struct PlannedLinear {
  LinearShape shape;
  std::optional<WeightScheme> scheme;
  std::string method{};  // as SchemeOverride::method
};

// Whether it leaves any linear to a rounder.
bool QuantizesAny(const std::vector<PlannedLinear>& plan);

// Throws Error for a pattern that matches no linear, and for a scheme that applies to none.
std::vector<PlannedLinear> MakePlan(const QuantizeSpec& spec,
                                    const std::vector<LinearShape>& linears);

}  // namespace quantref
