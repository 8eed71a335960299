#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/inputs/ledger_options.h"

namespace quantref {

// The command line of run_eval.
struct RunOptions {
  std::vector<std::string> configs;      // YAML files
  std::vector<std::string> assignments;  // --set key=value, applied to each config
  std::vector<std::string> candidates;   // LABEL=PATH, cells of each config beside its own
  std::vector<std::string> methods;      // only these cells besides the reference; empty: all
  std::vector<std::string> columns;      // of the table: these, "all", or (empty) what fits
  size_t windows = 0;                    // only the first so many; 0: all
  size_t threads = 0;                    // 0: all cores
  std::filesystem::path out = "results/records";
  std::filesystem::path export_folder;  // quantized cells are written there; "": they are not
  std::string export_format = "pack-quantized";  // of ExportFormats()
  bool resume = false;      // go on with the journal of an interrupted run of the same configs
  bool rerun = false;       // measure a study's cells whose records stand already, too
  bool any_commit = false;  // those of other commits and of changed trees are such records
  double memory_gb = 0;     // for cells measured together; 0: most of what is free
  std::string shard;        // "I/N": measure this part of the windows; "": all
  bool merge = false;       // `configs` are folders of shards, from whose windows records are made
  bool layers = false;      // print the layer report too
  LedgerOptions ledger{};   // where each cell's change comes from
  bool dry_run = false, quiet = false, json = false;
  bool weights = false;  // look at the weights in the place of all that is measured

  bool Wants(const std::string& method) const;  // by `methods` and `candidates`
};

}  // namespace quantref
