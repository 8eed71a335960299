#include "eval/run.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/environment.h"
#include "eval/group_run.h"
#include "eval/guarded.h"
#include "eval/nearest.h"
#include "eval/record.h"
#include "eval/resources.h"
#include "eval/run_config.h"
#include "eval/synthetic_run.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

// Configs that can be measured in one pass of the reference.
using Group = std::vector<const RunConfig*>;

bool Fits(const Group& group, const RunConfig& config) {
  const RunConfig& first = *group.front();
  if (config.model.synthetic || first.model.synthetic) return false;
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

int RunEval(const RunOptions& options) {
  const std::vector<RunConfig> configs = ReadConfigs(options);
  CheckMethodsExist(options, configs);
  for (const RunConfig& config : configs) {
    if (!config.model.synthetic) FindModel(config.model.name);  // before anything that takes long
  }
  const size_t threads = options.threads == 0 ? CoreCount() : options.threads;
  if (!options.dry_run) PrepareRecordFolder(options.out);
  std::string records;  // the elements of a JSON array
  bool gate_failed = false;
  const auto add = [&](const std::vector<Record>& made) {
    for (const Record& record : made) records += (records.empty() ? "" : ",\n") + record.json;
  };
  for (const Group& group : MakeGroups(configs)) {
    if (group.front()->model.synthetic) {
      SyntheticRun run(options, *group.front(), threads);
      options.dry_run ? run.PrintPlan() : add(run.Run());
      continue;
    }
    GroupRun run(options, group, threads);
    run.Prepare();
    options.dry_run ? run.PrintPlan() : add(run.Run());
    gate_failed = gate_failed || run.gate_failed();
  }
  if (options.json && !options.dry_run) fmt::print("[\n{}]\n", records);
  return gate_failed ? kExitGateFailed : 0;
}

}  // namespace quantref
