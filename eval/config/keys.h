#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eval/config/config_key.h"

namespace quantref {

// Every key that a config may have, as data: what `run_eval --list keys` shows, what the JSON
// schema for editors is made of, and what unknown keys are told by. They are rows of sections.h and
// quantize_keys.h, by which they are read and written out, too, but for those of the root and the
// lists of maps. A test holds all against configs/README.md.
const std::vector<ConfigKey>& ConfigKeys();

// Of a map at this place ("": the whole config; "quantize.methods[]": an entry of that list): the
// names of its keys, and the place of each.
struct ConfigChild {
  std::string key, place;
};
std::vector<ConfigChild> ConfigChildren(std::string_view place);

// Whether there are keys below this one.
bool HasChildren(std::string_view place);

// The entry of that place, or nullptr: maps that are nothing else have none.
const ConfigKey* FindConfigKey(std::string_view place);

}  // namespace quantref
