#pragma once

#include <string>
#include <vector>

#include "eval/config/run_config.h"

namespace quantref {

// A config file as it was read.
struct ConfigText {
  std::string file, text;
  bool operator==(const ConfigText&) const = default;
};

// Reads a file's config, or where it is a study (sweep.h) those of its points: each as a file
// of its own with the point's values would be read, named after the study and these values.
// `assignments` are the command line's --set key=value, in their order, and `candidates` its
// --candidate LABEL=PATH, behind the file's. Throws Error for anything
// that is not understood: unknown keys and names (with the nearest), wrong types, values out of
// range.
std::vector<RunConfig> ReadRunConfigs(const std::string& file,
                                      const std::vector<std::string>& assignments,
                                      const std::vector<std::string>& candidates = {});
std::vector<RunConfig> ParseRunConfigs(const ConfigText& text,
                                       const std::vector<std::string>& assignments,
                                       const std::vector<std::string>& candidates = {});

}  // namespace quantref
