#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/accuracy/measure.h"
#include "eval/config/read_config.h"
#include "eval/inputs/ledger_options.h"
#include "eval/record/reader.h"

namespace quantref {

// A shard of a run stands in a folder of its own, <config>.shard-<I>-of-<N> in the folder of the
// records: the journals of its windows, quantized cells, and once it is through with all of them
// the file that says what they are.

// A group of configs that a shard has measured its part of.
struct ShardGroup {
  std::string name;         // of its first config
  std::string fingerprint;  // of its journal
  Facts facts;              // ScoreFacts
  bool operator==(const ShardGroup&) const = default;
};

struct ShardFile {
  std::filesystem::path folder;
  Shard shard;
  std::string host;
  std::vector<ConfigText> configs;       // all that it was told,
  std::vector<std::string> assignments;  // as RunOptions
  std::vector<std::string> candidates{};
  std::vector<std::string> methods;
  size_t windows = 0;
  LedgerOptions ledger{};
  std::vector<ShardGroup> groups;

  std::string Name() const;  // "shard 2 of 7 (DIR/int4.shard-2-of-7, on node3)"
  bool operator==(const ShardFile&) const = default;
};

inline constexpr size_t kMostShards = 100'000;

// Of --shard: "2/7". Throws Error where it is none.
Shard ParseShard(const std::string& text);

// Of a run of these configs whose records would stand in `out`.
std::filesystem::path ShardFolder(const std::filesystem::path& out,
                                  const std::vector<ConfigText>& configs, const Shard& shard);

void WriteShardFile(const ShardFile& file);
void RemoveShardFile(const std::filesystem::path& folder);  // the shard is at work again
ShardFile ReadShardFile(const std::filesystem::path& folder);

// Whether a run that has not finished, a shard's or another, has its windows in the folder.
bool HoldsJournal(const std::filesystem::path& folder);

// The shards that these folders are, or have in them, in their order. Throws Error, with the shard,
// where they are not of one run, where one stands there twice, and where one is missing or has not
// finished.
std::vector<ShardFile> FindShards(const std::vector<std::string>& folders);

}  // namespace quantref
