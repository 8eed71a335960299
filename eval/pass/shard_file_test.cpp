#include "eval/pass/shard_file.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "eval/pass/score_facts.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

const std::vector<ConfigText> kConfigs = {{"configs/tiny.yaml", "name: tiny\n"}};

// Puts that shard's folder with its file there.
ShardFile PutShard(const fs::path& out, size_t index, size_t count,
                   const std::function<void(ShardFile&)>& change = {}) {
  const Shard shard{index, count};
  ShardFile file{.folder = ShardFolder(out, kConfigs, shard),
                 .shard = shard,
                 .host = "node" + std::to_string(index),
                 .configs = kConfigs,
                 .assignments = {"throughput=none"},
                 .methods = {"rtn"},
                 .windows = 9,
                 .groups = {{.name = "tiny",
                             .fingerprint = std::string(64, 'a'),
                             .facts = {{"ISA", "avx2"}, {"the text", "b"}}}}};
  if (change) change(file);
  fs::create_directories(file.folder);
  WriteShardFile(file);
  return file;
}

std::vector<ShardFile> Find(const fs::path& folder) { return FindShards({folder.string()}); }

TEST_CASE("I/N names a shard, and nothing else does") {
  CHECK(ParseShard("2/7") == Shard{1, 7});
  CHECK(ParseShard("1/1") == Shard{0, 1});
  for (const char* wrong : {"", "/", "2", "2/", "/7", "0/7", "8/7", "2/7/1", "-1/7", "2/7 ", "a/b",
                            "1/100001", "1/99999999999999999999"})
    CHECK_ERROR(ParseShard(wrong), "--shard", "expected I/N");
}

TEST_CASE("shards are found in their folder, in their order, as they were written") {
  const TempDir dir;
  std::vector<ShardFile> put(3);
  for (const size_t index : {2u, 0u, 1u}) put[index] = PutShard(dir.path(), index, 3);
  testing::WriteFile(dir / "tiny-rtn.json", "{}");
  CHECK(Find(dir.path()) == put);
  CHECK(FindShards({put[1].folder.string() + "/", put[2].folder.string(), put[0].folder.string(),
                    dir.path().string()}) == put);
}

TEST_CASE("a shard is found whatever its folder is called") {
  const TempDir dir;
  PutShard(dir.path(), 0, 2);
  const ShardFile second = PutShard(dir.path(), 1, 2);
  fs::rename(second.folder, dir / "other");
  const std::vector<ShardFile> found = Find(dir.path());
  REQUIRE(found.size() == 2);
  CHECK(found[1].folder == dir / "other");
  CHECK(FindShards({dir.path().string(), dir.path().string() + "/."}) == found);
  PutShard(dir.path(), 1, 2);
  CHECK_ERROR(Find(dir.path()), "--merge", "shard 2 of 2", "stands in");
}

TEST_CASE("a shard that is missing, unfinished or there twice is named") {
  const TempDir dir;
  CHECK_ERROR(Find(dir.path()), dir.path().string(), "expected shards, found none");
  CHECK_ERROR(Find(dir / "none"), "none", "expected a folder");
  const ShardFile first = PutShard(dir.path(), 0, 3);
  const ShardFile second = PutShard(dir.path(), 1, 3);
  CHECK_ERROR(Find(dir.path()), "--merge", "shard 3 of 3 is missing");
  const ShardFile third = PutShard(dir.path(), 2, 3);
  RemoveShardFile(second.folder);
  CHECK_ERROR(Find(dir.path()), "tiny.shard-2-of-3", "shard 2 of 3 has not finished");
  fs::remove_all(second.folder);
  CHECK_ERROR(Find(dir.path()), "--merge", "shard 2 of 3 is missing");
  PutShard(dir.path(), 1, 3);
  PutShard(dir / "copy", 2, 3);
  CHECK_ERROR(FindShards({dir.path().string(), (dir / "copy").string()}), "--merge", "shard 3 of 3",
              "stands in");
  RemoveShardFile(first.folder);
  RemoveShardFile(third.folder);
  RemoveShardFile(second.folder);
  CHECK_ERROR(Find(dir.path()), dir.path().string(), "found none that is");
}

TEST_CASE("a shard that was given another name before it finished is not told as gone") {
  const TempDir dir;
  PutShard(dir.path(), 0, 3);
  PutShard(dir.path(), 2, 3);
  const fs::path other = dir / "other", named = dir / "tiny.shard-3-of-3";
  fs::create_directory(other);
  testing::WriteFile(other / ".journal-0123456789abcdef.tmp", "");
  CHECK_ERROR(Find(dir.path()), other.string(), "shard 2 of 3 is missing, or stands here",
              "call it tiny.shard-2-of-3 again");
  CHECK_ERROR(FindShards({named.string(), (dir / "tiny.shard-1-of-3").string(), other.string()}),
              other.string(), "stands here and has not finished");
  // By its name a shard is another one.
  fs::remove_all(other);
  fs::rename(named, dir / "kept");
  fs::create_directory(named);
  testing::WriteFile(named / ".journal-0123456789abcdef.tmp", "");
  CHECK_ERROR(Find(dir.path()), "--merge", "shard 2 of 3 is missing");
  // What stands beside the shards' folders is of another run.
  testing::WriteFile(dir / ".journal-0123456789abcdef.tmp", "");
  CHECK_ERROR(Find(dir.path()), "--merge", "shard 2 of 3 is missing");
}

TEST_CASE("shards of several runs are told apart, by what differs") {
  const std::pair<std::function<void(ShardFile&)>, const char*> changes[] = {
      {[](ShardFile& f) { f.configs[0].text += "#"; }, "it is of other configs"},
      {[](ShardFile& f) { f.assignments.clear(); }, "it is of other --set"},
      {[](ShardFile& f) { f.candidates = {"q=q.gguf"}; }, "it is of other --candidate"},
      {[](ShardFile& f) { f.methods = {"gptq"}; }, "it is of other --methods"},
      {[](ShardFile& f) { f.windows = 0; }, "it is of other --windows"},
      {[](ShardFile& f) { f.ledger.asked = true; }, "it is of other --ledger"},
      {[](ShardFile& f) { f.shard.count = 4; }, "it is of 4 shards, not 3"},
      {[](ShardFile& f) { f.groups[0].facts["ISA"] = "avx512"; },
       "ISA: expected avx2, found avx512"},
      {[](ShardFile& f) { f.groups[0].facts["the weights of tiny rtn"] = "c"; },
       "the weights of tiny rtn: expected none, found c"},
      {[](ShardFile& f) { f.groups[0].fingerprint[3] = 'b'; }, "something else"},
      {[](ShardFile& f) { f.groups.clear(); }, "expected 1 group of"},
  };
  for (const auto& [change, message] : changes) {
    const TempDir dir;
    for (size_t index = 0; index < 3; ++index)
      PutShard(dir.path(), index, 3, index == 1 ? change : std::function<void(ShardFile&)>());
    CHECK_ERROR(Find(dir.path()), "--merge", "shard 2 of", message);
  }
}

TEST_CASE("a shard's file that is damaged is refused, with the place") {
  const TempDir dir;
  const ShardFile file = PutShard(dir.path(), 0, 1);
  const fs::path path = file.folder / "shard.json";
  const std::string text = ReadFile(path, 1 << 20);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    const size_t place = changed.find(from);
    REQUIRE(place != std::string::npos);
    WriteFileAtomically(path, changed.replace(place, from.size(), to), true);
  };
  for (const auto& [from, to] :
       {std::pair<std::string, std::string>{"\"format\": 1", "\"format\": 2"},
        {"\"shard\": 1", "\"shard\": 2"},
        {"\"shards\": 1", "\"shards\": 0"},
        {"\"methods\": [", "\"methods\": [7, "},
        {"\"groups\": [", "\"groups\": [null, "},
        {"\"ISA\": \"avx2\"", "\"ISA\": []"},
        {"aaaaaaaa", "../../.."},
        {"\"host\"", "\"guest\""}}) {
    with(from, to);
    CHECK_ERROR(Find(dir.path()), "shard.json", "expected");
  }
  WriteFileAtomically(path, text.substr(0, text.size() / 2), true);
  CHECK_ERROR(Find(dir.path()), "shard.json");
}

}  // namespace
}  // namespace quantref
