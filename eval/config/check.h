#pragma once

#include <yaml-cpp/yaml.h>

#include <string>

namespace quantref {

// Throws Error for a key that no config has, wherever it stands, and before any value is judged: a
// misspelt key must not be told as a missing one. Names what was meant: the nearest key of that
// map, the key of another map that is called so, or what the word of another tool is here.
void CheckConfigKeys(const YAML::Node& root, const std::string& file);

// As SetYaml, which see, for what a config lets stand for something else: where a key below `model`
// is set and the file says `model: NAME`, that is the map's name; `none` in the place of a map
// gives way to one; of two keys that exclude each other (`seed` and `seeds`) the assignment's
// stays; and a format takes the keys of `weights` with it that it leaves no choice of.
void SetConfig(YAML::Node& root, const std::string& assignment);

}  // namespace quantref
