#include "eval/run.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/environment.h"
#include "eval/group_run.h"
#include "eval/nearest.h"
#include "eval/record.h"
#include "eval/resources.h"
#include "eval/run_config.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

// Configs that can be measured in one pass of the reference.
using Group = std::vector<const RunConfig*>;

bool Fits(const Group& group, const RunConfig& config) {
  const RunConfig& first = *group.front();
  return config.model == first.model && config.accuracy == first.accuracy &&
         config.sample_when_offline == first.sample_when_offline;
}

std::vector<RunConfig> ReadConfigs(const RunOptions& options) {
  std::vector<RunConfig> configs;
  for (const std::string& file : options.configs) {
    configs.push_back(ReadRunConfig(file, options.assignments));
    for (size_t i = 0; i + 1 < configs.size(); ++i) {
      if (configs[i].name != configs.back().name) continue;
      throw Error(fmt::format("the name '{}' is that of {} too", configs[i].name, configs[i].file),
                  file + ": name");
    }
  }
  return configs;
}

void CheckMethodsExist(const RunOptions& options, const std::vector<RunConfig>& configs) {
  std::vector<std::string> known = {"fp16"};
  for (const RunConfig& config : configs)
    for (const CellConfig& cell : config.cells) known.push_back(cell.label);
  for (const std::string& method : options.methods) {
    if (std::find(known.begin(), known.end(), method) != known.end()) continue;
    throw Error(fmt::format("no config has the method '{}'{}", method, DidYouMean(method, known)),
                "--methods");
  }
}

std::vector<Group> MakeGroups(const std::vector<RunConfig>& configs) {
  std::vector<Group> groups;
  for (const RunConfig& config : configs) {
    const auto group =
        std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return Fits(g, config); });
    if (group != groups.end()) {
      group->push_back(&config);
    } else {
      groups.push_back({&config});
    }
  }
  return groups;
}

}  // namespace

void RunEval(const RunOptions& options) {
  const std::vector<RunConfig> configs = ReadConfigs(options);
  CheckMethodsExist(options, configs);
  for (const RunConfig& config : configs)
    FindModel(config.model.name);  // before anything that takes long
  const size_t threads = options.threads == 0 ? CoreCount() : options.threads;
  if (!options.dry_run) PrepareRecordFolder(options.out);
  std::string records;  // the elements of a JSON array
  for (const Group& group : MakeGroups(configs)) {
    GroupRun run(options, group, threads);
    run.Prepare();
    if (options.dry_run) {
      run.PrintPlan();
      continue;
    }
    for (const Record& record : run.Run()) {
      if (!records.empty()) records += ",\n";
      records += record.json;
    }
  }
  if (options.json && !options.dry_run) fmt::print("[\n{}]\n", records);
}

}  // namespace quantref
