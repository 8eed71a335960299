#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/accuracy/measure.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"
#include "eval/pass/shard_file.h"

namespace quantref {

// Which part a process has in a run whose windows several share: that of one shard, which makes no
// records; or that of who merges the shards, who makes them, and measures what comes behind the
// windows. Neither: it does all.
struct ShardWork {
  std::optional<Shard> part{};
  std::vector<ShardFile> merged{};
  std::vector<ShardGroup> groups{};              // that the part is done with
  std::vector<std::filesystem::path> kept_in{};  // folders where others keep quantized cells

  bool Alone() const { return !part && merged.empty(); }
  std::vector<std::string> Hosts() const;  // of those that are merged, each once
};

// The windows that this process measures, or as many; which of them matters little to what they
// cost.
std::span<const Window> OwnWindows(const GroupContext& group);

// Keeps what a shard is done with.
void AddGroup(const GroupContext& group, const Pass& cells, ShardWork& work);

// The windows that the merged shards have measured. Throws Error where this process would have got
// other scores, and where some of a shard's are missing.
std::vector<JournalEntry> TakeWindows(const GroupContext& group, const Pass& cells);

}  // namespace quantref
