#pragma once

#include <optional>
#include <string>

#include "eval/anatomy/anatomy_fields.h"
#include "eval/cost/cost.h"

namespace quantref {

// What an anatomy prints: a table of matrices, one of what foretells the rounding errors for each
// cell, and what the columns mean; in lines of that width.
std::string AnatomyText(const Anatomy& anatomy, std::optional<size_t> width);

// What --dry-run prints of an anatomy of so many matrices, which holds none yet: its cells and what
// it will take.
std::string AnatomyPlanText(const Anatomy& anatomy, size_t matrices, const Cost& cost,
                            std::optional<size_t> width);

}  // namespace quantref
