#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace quantref {

// The JSON schema (draft 7) of configs, for editors: configs/schema.json. Only the programs know
// all that makes a config valid; what the schema refuses they refuse.
std::string ConfigSchema();

// What --list shows: each key with what it is, valid values and default; and the configs that come
// with the program, each with the sentences that it begins with. Wrapped to lines of that width.
std::string ConfigKeysText(std::optional<size_t> width);
std::string ConfigsText(std::optional<size_t> width);

}  // namespace quantref
