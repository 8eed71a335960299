#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace quantref {

// A config with lists where one value belongs is a study: a grid of configs, its points. The keys
// that may be lists are `kSweptKeys` in sweep.cpp; configs/README.md has them too.

// Whether a list at this dotted key is an axis of a study.
bool IsSwept(std::string_view key);

// A point of a study, or the whole of a config that is none.
struct SweepPoint {
  std::string suffix;  // of the config's name, "-int4-g32"; "" for a config that
                       // is no study
  std::string text;    // for messages: "quantize.weights.bits: 4,
                       // quantize.weights.group: 32"
  struct ExcludedMethod {
    std::string label, where;  // where the study says so
  };
  std::vector<ExcludedMethod> excluded;  // methods that this point goes without
};

// Calls `visit` for each point that the study's `exclude` list leaves, with the tree made that of
// the point: a value in the place of every list, and no `exclude`. Points that share a model, then
// a protocol, then calibration follow one another, whatever the order of the keys. For a config
// that is no study: once, with the tree as it is. Throws Error for empty lists, values that stand
// twice, and entries of `exclude` with other keys or values than those of the lists.
void ForEachPoint(
    YAML::Node root, const std::string& file,
    const std::function<void(const YAML::Node& tree, const SweepPoint& point)>& visit);

}  // namespace quantref
