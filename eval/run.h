#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace quantref {

// The command line of run_eval.
struct RunOptions {
  std::vector<std::string> configs;      // YAML files
  std::vector<std::string> assignments;  // --set key=value, applied to each config
  std::vector<std::string> methods;      // only these cells; empty: all
  size_t windows = 0;                    // only the first so many; 0: all
  size_t threads = 0;                    // 0: all cores
  std::filesystem::path out = "results/records";
  bool resume = false;  // go on with the journal of an interrupted run of the same configs
  bool layers = false;  // print the layer report too
  bool dry_run = false, quiet = false, json = false;
};

// Quantizes and measures every cell of every config and writes their records. Configs that share
// model, text and protocol share one pass of the reference. Progress goes to stderr; the result (a
// table, or JSON records, or nothing if quiet) to stdout. Returns the exit code: 0, or
// kExitGateFailed where the kernels gave something else than the weights they stand for.
int RunEval(const RunOptions& options);

}  // namespace quantref
