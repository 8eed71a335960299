#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace quantref {

inline constexpr size_t kMaxJsonFileBytes = size_t{64} << 20;
inline constexpr size_t kMaxJsonDepth = 64;

// Parses one JSON document, strictly: Error (at `where`:line:column, bytes from 1) for invalid JSON
// or UTF-8, for a key that an object has twice (JSON leaves open which one counts), and for nesting
// deeper than kMaxJsonDepth.
nlohmann::json ParseJson(std::string_view text, const std::string& where);

// Of a file of at most kMaxJsonFileBytes.
nlohmann::json ReadJsonFile(const std::filesystem::path& path);

// The text as a JSON string literal, for messages: control characters escaped, invalid UTF-8
// replaced, long text cut.
std::string Quoted(std::string_view text);

}  // namespace quantref
