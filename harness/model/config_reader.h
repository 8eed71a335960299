#pragma once

#include <cstddef>
#include <string>

#include "harness/io/json_fields.h"
#include "harness/model/config.h"

// What the files that read config.json share; nobody else includes this.

namespace quantref {

inline constexpr size_t kMostContext = 1 << 24;

[[noreturn]] void Unsupported(const JsonFields& json, const std::string& feature,
                              const std::string& hint =
                                  "README.md of harness/model lists the "
                                  "families and what each may ask for");

// Rotary embeddings: rope_theta, rope_scaling or rope_parameters, and how much of a head is
// rotated. The config's context and heads are there; longrope may be called by the names that phi3
// has for it where `phi` is set, and a part of a head may stay as it is.
void ReadRope(const JsonFields& json, bool phi, ModelConfig& config);

// The context that dynamic and yarn scaling make of the original one.
size_t StretchedContext(const ModelConfig& config);

}  // namespace quantref
