#pragma once

#include <string_view>
#include <vector>

#include "harness/method/quantizer.h"

namespace quantref {

// Every rounder and every transform, of blocks or of whole models, in the order of --list.
const std::vector<const Rounder*>& Rounders();
const std::vector<const Transform*>& Transforms();
const std::vector<const ModelTransform*>& ModelTransforms();

// The one of that name, or nullptr.
const Rounder* FindRounder(std::string_view name);
const Transform* FindTransform(std::string_view name);
const ModelTransform* FindModelTransform(std::string_view name);

// RTN, which rounds where a method names no rounder.
const Rounder& ToNearest();

std::vector<const Plugin*> AllPlugins();

}  // namespace quantref
