#pragma once

#include <string_view>
#include <vector>

#include "harness/quantizer.h"

namespace quantref {

// Every rounder, in the order of --list.
const std::vector<const Rounder*>& Rounders();

// The rounder of that name, or nullptr.
const Rounder* FindRounder(std::string_view name);

}  // namespace quantref
