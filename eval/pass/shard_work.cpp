#include "eval/pass/shard_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "eval/pass/ledger_steps.h"
#include "eval/pass/score_facts.h"
#include "eval/support/text_table.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

// What the shard has of this process's group.
const ShardGroup& GroupIn(const ShardFile& shard, const ShardGroup& own) {
  const auto group = std::ranges::find(shard.groups, own.name, &ShardGroup::name);
  if (group == shard.groups.end())
    throw Error(fmt::format("{} has no windows of {}", shard.Name(), own.name), "--merge");
  if (*group == own) return *group;
  const std::string how = FirstDifference(group->facts, own.facts);
  throw Error(fmt::format("this process would not get the scores of {}: {}", shard.Name(),
                          how.empty() ? "something else differs" : how),
              "--merge",
              "merge with the program, the inputs and the kind of machine of the shards");
}

ShardGroup Described(const GroupContext& group, const Pass& cells) {
  return {.name = group.config().name,
          .fingerprint = Fingerprint(group, cells),
          .facts = ScoreFacts(group, cells)};
}

}  // namespace

std::vector<std::string> ShardWork::Hosts() const {
  std::set<std::string> hosts;
  for (const ShardFile& shard : merged) hosts.insert(shard.host);
  return {hosts.begin(), hosts.end()};
}

std::span<const Window> OwnWindows(const GroupContext& group) {
  const std::span<const Window> all(group.windows);
  if (!group.shards.merged.empty()) return all.first(1);  // for the gate between the paths
  const size_t processes = group.shards.part ? group.shards.part->count : group.workers.size();
  return processes == 1 ? all : all.first(std::max<size_t>(1, all.size() / processes));
}

void AddGroup(const GroupContext& group, const Pass& cells, ShardWork& work) {
  work.groups.push_back(Described(group, cells));
}

std::vector<JournalEntry> TakeWindows(const GroupContext& group, const Pass& cells) {
  const ShardGroup own = Described(group, cells);
  const RunConfig::Accuracy& accuracy = group.config().accuracy;
  const std::vector<size_t> order =
      WindowOrder(group.windows.size(), accuracy.order, accuracy.stop);
  const auto models = static_cast<size_t>(
      1 + std::ranges::count_if(cells, [](const GroupCell& cell) { return cell.spec != nullptr; }) +
      std::ssize(RunsBetween(group, cells)));
  std::vector<JournalEntry> windows;
  for (const ShardFile& shard : group.shards.merged) {
    const std::string& fingerprint = GroupIn(shard, own).fingerprint;
    const std::vector<size_t> part = PartOf(order, shard.shard);
    std::set<size_t> missing(part.begin(), part.end());
    for (JournalEntry& entry :
         Journal::Read(shard.folder / JournalFile(fingerprint), fingerprint, models)) {
      if (missing.erase(entry.window) > 0) windows.push_back(std::move(entry));
    }
    if (missing.empty()) continue;
    throw Error(fmt::format("{} lacks {} of its {}", shard.Name(), missing.size(),
                            Plural(part.size(), "window")),
                "--merge", "run it again, with --resume");
  }
  return windows;
}

}  // namespace quantref
