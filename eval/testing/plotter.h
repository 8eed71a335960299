#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/process.h"

namespace quantref::testing {

inline constexpr const char* kPython = "/usr/bin/python3";

// A run of scripts/plots in that folder.
struct PlotRun {
  std::filesystem::path folder;
  std::vector<std::string> arguments;
};

// Does it in a fork of one process that serves all runs of the test program: matplotlib takes
// longer to start than most plots to be drawn.
ProcessResult PlotForked(const PlotRun& run);

}  // namespace quantref::testing
