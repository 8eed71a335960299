#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "harness/io/json_limits.h"
#include "harness/io/quoted.h"

namespace quantref {

// Parses one JSON document, strictly: Error (at `where`:line:column, bytes from 1) for invalid JSON
// or UTF-8, for a key that an object has twice (JSON leaves open which one counts), and for nesting
// deeper than kMaxJsonDepth.
nlohmann::json ParseJson(std::string_view text, const std::string& where);

// Of a file of at most kMaxJsonFileBytes.
nlohmann::json ReadJsonFile(const std::filesystem::path& path);

}  // namespace quantref
