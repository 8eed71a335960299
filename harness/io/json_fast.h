#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

namespace quantref {

// Of a document that ParseJson (json_file.h) takes, the same value: by simdjson (Langdale & Lemire
// 2019, arXiv:1902.08318), which is several times faster. Nothing for any other document, and for
// the rare one that only ParseJson reads (whole numbers beyond 64 bits): it says what is wrong.
std::optional<nlohmann::json> TryParseJson(std::string_view text);

}  // namespace quantref
