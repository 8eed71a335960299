#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace quantref {

// As ParseJson (json_file.h), but slowly: by a parser whose errors say where and what. For
// documents that the fast one refuses.
nlohmann::json ParseJsonWatched(std::string_view text, const std::string& where);

}  // namespace quantref
