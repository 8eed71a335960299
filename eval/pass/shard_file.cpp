#include "eval/pass/shard_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <utility>

#include "eval/pass/score_facts.h"
#include "eval/support/text_table.h"
#include "harness/base/error.h"
#include "harness/io/file.h"
#include "harness/io/json_fields.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using ShardJson = nlohmann::json;

constexpr const char* kShardFileName = "shard.json";
constexpr uint64_t kShardFormat = 1;
constexpr size_t kMostShardWindows = 1'000'000'000;

std::string FolderEnd(const Shard& shard) {
  return fmt::format(".shard-{}-of-{}", shard.index + 1, shard.count);
}

std::vector<std::string> TextsOf(const JsonFields& fields, const char* key) {
  std::vector<std::string> texts;
  if (!fields.Has(key) || !fields[key].is_array()) fields.Fail(key, "a list of texts");
  for (const ShardJson& text : fields[key]) {
    if (!text.is_string()) fields.Fail(key, "a list of texts");
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

// `read`: of the fields of each map.
template <typename Read>
void ForMaps(const JsonFields& fields, const char* key, Read&& read) {
  if (!fields.Has(key) || !fields[key].is_array()) fields.Fail(key, "a list of maps");
  for (const ShardJson& map : fields[key])
    read(JsonFields(map, fmt::format("{}: {}", fields.where(), key)));
}

ShardGroup GroupOf(const JsonFields& fields) {
  ShardGroup group{
      .name = fields.Text("name"), .fingerprint = fields.Text("fingerprint"), .facts = {}};
  const bool is_hash = group.fingerprint.size() >= kJournalName &&
                       group.fingerprint.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!is_hash) fields.Fail("fingerprint", "a hash");
  const JsonFields facts = fields.Object("facts");
  for (const auto& [name, value] : fields["facts"].items()) {
    if (!value.is_string()) facts.Fail(name.c_str(), "a text");
    group.facts[name] = value.get<std::string>();
  }
  return group;
}

// What is asked of a shard, its number apart; "" where it is the same of both.
std::string OtherRequest(const ShardFile& a, const ShardFile& b) {
  if (a.shard.count != b.shard.count)
    return fmt::format("of {} shards, not {}", b.shard.count, a.shard.count);
  const auto differs = [](const char* what) { return fmt::format("of other {}", what); };
  if (!std::ranges::equal(a.configs, b.configs, {}, &ConfigText::text, &ConfigText::text))
    return differs("configs");
  if (a.assignments != b.assignments) return differs("--set");
  if (a.candidates != b.candidates) return differs("--candidate");
  if (a.methods != b.methods) return differs("--methods");
  if (a.windows != b.windows) return differs("--windows");
  if (a.ledger != b.ledger) return differs("--ledger");
  return "";
}

[[noreturn]] void RefuseMix(const ShardFile& first, const ShardFile& other,
                            const std::string& how) {
  throw Error(fmt::format("{} does not belong to {}: {}", other.Name(), first.Name(), how),
              "--merge", "name the folders of one run");
}

void CheckBelong(const ShardFile& first, const ShardFile& other) {
  if (const std::string how = OtherRequest(first, other); !how.empty())
    RefuseMix(first, other, "it is " + how);
  if (first.groups.size() != other.groups.size())
    RefuseMix(first, other,
              fmt::format("expected {} of configs that could be measured, found {}",
                          Plural(first.groups.size(), "group"), other.groups.size()));
  for (size_t g = 0; g < first.groups.size(); ++g) {
    const ShardGroup &a = first.groups[g], &b = other.groups[g];
    if (const std::string how = FirstDifference(a.facts, b.facts); !how.empty())
      RefuseMix(first, other, how);
    if (a.name != b.name || a.fingerprint != b.fingerprint)
      RefuseMix(first, other, "its scores depend on something else");
  }
}

// A shard's, whatever it is called; or by its name one that is not finished.
bool IsShardFolder(const fs::path& path) {
  return IsPresent(path / kShardFileName) ||
         path.filename().string().find(".shard-") != std::string::npos;
}

// Each once, however it is spelled, in the order of their names.
std::vector<fs::path> ShardFolders(const std::vector<std::string>& folders) {
  std::map<fs::path, fs::path> found;
  const auto add = [&](const fs::path& folder) {
    found.emplace(fs::weakly_canonical(folder), folder);
  };
  for (const std::string& name : folders) {
    fs::path folder = name;
    if (!folder.has_filename()) folder = folder.parent_path();  // "a/b/"
    std::error_code error;
    if (!fs::is_directory(folder, error)) throw Error("expected a folder, found none", name);
    if (IsShardFolder(folder)) {
      add(folder);
      continue;
    }
    const size_t before = found.size();
    for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
         entry.increment(error)) {
      if (!entry->is_directory(error)) continue;
      if (IsShardFolder(entry->path()) || HoldsJournal(entry->path())) add(entry->path());
    }
    // Beside shards its own journal is of a run that was none.
    if (found.size() == before && HoldsJournal(folder)) add(folder);
  }
  std::vector<fs::path> sorted;
  for (const auto& [own, spelled] : found) sorted.push_back(spelled);
  return sorted;
}

[[noreturn]] void RefuseMissing(const Shard& missing, const std::vector<ConfigText>& configs,
                                const std::vector<fs::path>& unfinished) {
  const std::string name = fmt::format("shard {} of {}", missing.index + 1, missing.count);
  const std::string run_it =
      fmt::format("run it, with --shard {}/{}", missing.index + 1, missing.count);
  for (const fs::path& folder : unfinished) {
    if (!folder.filename().string().ends_with(FolderEnd(missing))) continue;
    throw Error(name + " has not finished", folder.string(),
                "wait for it, or go on with it, with --resume");
  }
  for (const fs::path& folder : unfinished) {
    if (folder.filename().string().ends_with(fmt::format("-of-{}", missing.count))) continue;
    throw Error(name + " is missing, or stands here and has not finished", folder.string(),
                fmt::format("if this is its folder, call it {} again and go on with --resume; if "
                            "not, {}",
                            ShardFolder({}, configs, missing).string(), run_it));
  }
  throw Error(name + " is missing", "--merge", run_it);
}

}  // namespace

bool HoldsJournal(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().filename().string().starts_with(kJournalStart)) return true;
  }
  return false;
}

std::string ShardFile::Name() const {
  return fmt::format("shard {} of {} ({}, on {})", shard.index + 1, shard.count, folder.string(),
                     host);
}

Shard ParseShard(const std::string& text) {
  const auto number = [](std::string_view digits) {
    size_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size() ? value : 0;
  };
  const size_t slash = std::min(text.find('/'), text.size());
  const size_t place = number(std::string_view(text).substr(0, slash));
  const size_t count = number(std::string_view(text).substr(std::min(slash + 1, text.size())));
  if (place == 0 || place > count || count > kMostShards) {
    throw Error(
        fmt::format("expected I/N, the I-th of N shards, 1 to {}, found '{}'", kMostShards, text),
        "--shard", "for example --shard 2/7");
  }
  return {place - 1, count};
}

fs::path ShardFolder(const fs::path& out, const std::vector<ConfigText>& configs,
                     const Shard& shard) {
  return out / (fs::path(configs.front().file).stem().string() + FolderEnd(shard));
}

void WriteShardFile(const ShardFile& file) {
  ShardJson json = {{"format", kShardFormat},        {"shard", file.shard.index + 1},
                    {"shards", file.shard.count},    {"host", file.host},
                    {"configs", ShardJson::array()}, {"set", file.assignments},
                    {"candidates", file.candidates}, {"methods", file.methods},
                    {"windows", file.windows},       {"groups", ShardJson::array()}};
  if (file.ledger.asked)
    json["ledger"] = {{"text", file.ledger.text}, {"windows", file.ledger.windows}};
  for (const ConfigText& config : file.configs)
    json["configs"].push_back({{"file", config.file}, {"text", config.text}});
  for (const ShardGroup& group : file.groups) {
    json["groups"].push_back(
        {{"name", group.name}, {"fingerprint", group.fingerprint}, {"facts", group.facts}});
  }
  WriteFileAtomically(file.folder / kShardFileName, json.dump(1) + "\n", true);
}

void RemoveShardFile(const fs::path& folder) {
  std::error_code ignored;
  fs::remove(folder / kShardFileName, ignored);
}

ShardFile ReadShardFile(const fs::path& folder) {
  const fs::path path = folder / kShardFileName;
  const ShardJson json = ReadJsonFile(path);
  const JsonFields fields(json, path.string());
  fields.Count("format", kShardFormat, kShardFormat);
  ShardFile file{.folder = folder,
                 .shard = {},
                 .host = fields.Text("host"),
                 .configs = {},
                 .assignments = TextsOf(fields, "set"),
                 .candidates = TextsOf(fields, "candidates"),
                 .methods = TextsOf(fields, "methods"),
                 .windows = fields.Count("windows", 0, kMostShardWindows),
                 .groups = {}};
  if (fields.Has("ledger")) {
    const JsonFields ledger = fields.Object("ledger");
    file.ledger = {.asked = true,
                   .text = ledger.Text("text"),
                   .windows = ledger.Count("windows", 0, kMostShardWindows)};
    if (file.ledger.text != kLedgerCalibration && file.ledger.text != kLedgerTest)
      ledger.Fail("text", "calibration or test");
  }
  file.shard.count = fields.Count("shards", 1, kMostShards);
  file.shard.index = fields.Count("shard", 1, file.shard.count) - 1;
  ForMaps(fields, "configs", [&](const JsonFields& config) {
    file.configs.push_back({config.Text("file"), config.Text("text")});
  });
  if (file.configs.empty()) fields.Fail("configs", "one or more");
  ForMaps(fields, "groups",
          [&](const JsonFields& group) { file.groups.push_back(GroupOf(group)); });
  return file;
}

std::vector<ShardFile> FindShards(const std::vector<std::string>& folders) {
  std::vector<ShardFile> shards;
  std::vector<fs::path> unfinished;
  for (const fs::path& folder : ShardFolders(folders)) {
    if (IsPresent(folder / kShardFileName)) {
      shards.push_back(ReadShardFile(folder));
    } else {
      unfinished.push_back(folder);
    }
  }
  if (shards.empty()) {
    throw Error(unfinished.empty() ? "expected shards, found none"
                                   : "expected finished shards, found none that is",
                folders.front(), "run_eval CONFIG --shard I/N makes them");
  }
  for (const ShardFile& other : shards) CheckBelong(shards.front(), other);
  std::ranges::stable_sort(shards, {}, [](const ShardFile& file) { return file.shard.index; });
  for (size_t i = 0; i < shards.size(); ++i) {
    if (i > 0 && shards[i].shard == shards[i - 1].shard) {
      throw Error(
          fmt::format("{} stands in {} too", shards[i].Name(), shards[i - 1].folder.string()),
          "--merge", "name one of the two");
    }
    if (shards[i].shard.index != i)
      RefuseMissing({i, shards[i].shard.count}, shards[i].configs, unfinished);
  }
  if (shards.size() < shards.front().shard.count)
    RefuseMissing({shards.size(), shards.front().shard.count}, shards.front().configs, unfinished);
  return shards;
}

}  // namespace quantref
