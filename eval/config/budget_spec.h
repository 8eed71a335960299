#pragma once

#include <cstddef>
#include <vector>

namespace quantref {

// How the bits of a budget are shared out among matrices: by what each loses on a calibration text
// (eval/accuracy/sensitivity.h); the same for all; or at random, looking at nothing.
enum class BudgetRule { kSensitivity, kUniform, kRandom };
const char* BudgetRuleName(BudgetRule rule);

// The `budget` map of a cell: every matrix that is quantized gets one of the choices.
struct BudgetSpec {
  double bits = 4.25;                       // a weight on average, as they are stored: the most
  std::vector<size_t> choices = {3, 4, 8};  // bits of a code, rising
  BudgetRule rule = BudgetRule::kSensitivity;
  size_t seed = 0;                   // of the windows' places; of kRandom, of what it draws
  size_t samples = 8, length = 512;  // windows of the calibration text, and tokens of each
  bool operator==(const BudgetSpec&) const = default;
};

}  // namespace quantref
