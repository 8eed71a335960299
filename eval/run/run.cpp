#include "eval/run/run.h"

#include <exception>
#include <filesystem>
#include <utility>

#include "eval/pass/shard_file.h"
#include "eval/pass/shard_work.h"
#include "eval/run/run_configs.h"
#include "eval/support/mute.h"
#include "eval/support/say.h"
#include "eval/support/yaml_reader.h"
#include "harness/base/cancel.h"
#include "harness/base/error.h"
#include "harness/base/machine.h"

namespace quantref {
namespace {

std::vector<ConfigText> ReadTexts(const std::vector<std::string>& files) {
  std::vector<ConfigText> texts;
  for (const std::string& file : files) {
    try {
      texts.push_back({file, ReadYamlText(file)});
    } catch (const Error& error) {
      if (std::error_code code; std::filesystem::exists(file, code) || code) throw;
      throw Error(error.problem(), file, "run_eval --list configs shows what there is");
    }
  }
  return texts;
}

// In a folder of its own, so that shards can be at work beside each other.
int RunShard(const RunOptions& options, Workers& workers) {
  ShardFile file{.folder = {},
                 .shard = ParseShard(options.shard),
                 .host = HostName(),
                 .configs = ReadTexts(options.configs),
                 .assignments = options.assignments,
                 .candidates = options.candidates,
                 .methods = options.methods,
                 .windows = options.windows,
                 .ledger = options.ledger,
                 .groups = {}};
  file.folder = ShardFolder(options.out, file.configs, file.shard);
  ShardWork work{.part = file.shard};
  for (size_t other = 0; other < file.shard.count; ++other) {
    if (other != file.shard.index)
      work.kept_in.push_back(ShardFolder(options.out, file.configs, {other, file.shard.count}));
  }
  RunOptions own = options;
  own.out = file.folder;
  if (!options.dry_run) RemoveShardFile(file.folder);
  const int code = RunConfigs(own, file.configs, work, workers);
  if (options.dry_run || CancelRequested()) return code;
  file.groups = std::move(work.groups);
  WriteShardFile(file);
  if (!options.quiet)
    Say("{} is done; when all are: merge_shards {}\n", file.Name(), options.out.string());
  return code;
}

int MergeShards(const RunOptions& options, Workers& workers) {
  ShardWork work{.merged = FindShards(options.configs)};
  const ShardFile& first = work.merged.front();
  for (const ShardFile& shard : work.merged) work.kept_in.push_back(shard.folder);
  RunOptions own = options;
  own.assignments = first.assignments;
  own.candidates = first.candidates;
  own.methods = first.methods;
  own.windows = first.windows;
  own.ledger = first.ledger;
  const int code = RunConfigs(own, first.configs, work, workers);
  if (!options.dry_run && !options.quiet && !CancelRequested())
    Say("the records stand: the shards' folders are of no more use\n");
  return code;
}

// A process beside the first.
int RunForFirst(const RunOptions& options, Workers& workers) {
  SetMessagesMuted(true);
  RunOptions own = options;
  own.quiet = true;
  own.json = false;
  own.export_folder.clear();
  try {
    ShardWork alone;
    RunConfigs(own, ReadTexts(options.configs), alone, workers);
  } catch (const Interrupted&) {  // rank 0 hears of it
  } catch (const TeamError&) {    // rank 0 has the same, or is lost
  } catch (const std::exception& error) {
    workers.Fail(error.what());
  }
  return 0;
}

}  // namespace

int RunEval(const RunOptions& options, Workers& workers) {
  if (!workers.IsFirst()) return RunForFirst(options, workers);
  if (options.merge) return MergeShards(options, workers);
  if (!options.shard.empty()) return RunShard(options, workers);
  ShardWork alone;
  return RunConfigs(options, ReadTexts(options.configs), alone, workers);
}

}  // namespace quantref
