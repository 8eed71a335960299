#pragma once

#include <string>

namespace quantref {

// The JSON schema (draft 7) of configs, for editors: configs/schema.json. Only the programs know
// all that makes a config valid; what the schema refuses they refuse.
std::string ConfigSchema();

// One line a key: name, default, valid values, what it is.
std::string ConfigKeysText();

// The configs that come with the program, each with the line that it begins with.
std::string ConfigsText();

}  // namespace quantref
