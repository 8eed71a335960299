#include "eval/inputs/finished.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "eval/cost/environment.h"
#include "eval/record/schema.h"
#include "eval/support/files.h"
#include "eval/support/version.h"
#include "harness/base/error.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

bool IsRecordOf(const fs::path& file, const std::vector<const RunConfig*>& configs) {
  const std::string name = file.filename().string();
  return IsRecordName(file) &&
         std::any_of(configs.begin(), configs.end(),
                     [&](const RunConfig* config) { return name.starts_with(config->name + "-"); });
}

// Records may be anyone's: an entry of another form is none that trains.
bool Trains(const Json& entry) {
  const Json name = entry.is_object() ? entry.value("method", Json()) : entry;
  if (!name.is_string()) return false;
  const std::string method = name.get<std::string>();
  return method == kFullMethod || method.ends_with(std::string("+") + kQatMethod) ||
         method.ends_with(std::string("+") + kLoraMethod);
}

void KeepOwnCandidate(const std::string& method, Json& config) {
  const auto candidates = config.find("candidates");
  if (candidates == config.end()) return;
  Json own = Json::array();
  for (const Json& entry : *candidates) {
    if (entry.is_object() && entry.contains("label") && entry["label"] == method)
      own.push_back(entry);
  }
  config.erase(candidates);
  if (!own.empty()) config["candidates"] = own;
}

// The resolved config without the methods and candidates of other cells, and how these are trained:
// what they are changes nothing here.
Json OwnConfig(const std::string& resolved, const std::string& method) {
  Json config = ParseJson(resolved, "config.resolved");
  KeepOwnCandidate(method, config);
  const Json::json_pointer methods("/quantize/methods");
  if (!config.contains(methods) || !config[methods].is_array()) return config;
  Json own = Json::array();
  for (const Json& entry : config[methods]) {
    const bool named = entry.is_object() && entry.contains("label");
    if ((named ? entry["label"] : entry) == method) own.push_back(entry);
  }
  config[methods] = own;
  if (std::none_of(own.begin(), own.end(), Trains)) config.erase("finetune");
  return config;
}

// Whether the commit says what ran.
bool IsTold(const Program& program) { return !program.dirty && program.commit != "unknown"; }

// All that the run would measure, or as many of them as the stop rule found enough.
bool SameWindows(const StoredRecord& record, const std::vector<size_t>& order) {
  const size_t count = record.window_index.size();
  if (count > order.size()) return false;
  if (count < order.size() && record.Fact("protocol.stopped_early") != "true") return false;
  std::vector<size_t> first(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count));
  std::sort(first.begin(), first.end());
  return first == record.window_index;
}

// What the run knows of it, as a record that it writes would say it.
const std::string& Known(const SoughtCell& cell, const std::string& path) {
  static const std::string none = "none";
  const auto fact = cell.facts.find(path);
  return fact == cell.facts.end() ? none : fact->second;
}

std::string WhyOther(const StoredRecord& record, const SoughtCell& cell, bool any_commit) {
  if (OwnConfig(record.resolved, cell.name.method) != OwnConfig(cell.resolved, cell.name.method))
    return "a record of another config";
  for (const RecordField* field : FieldsWith(Role::kKnown)) {
    if (record.Fact(field->path) != Known(cell, field->path))
      return fmt::format("a record of another {}", field->path);
  }
  if (!cell.ledger.empty() && record.Fact("ledger.request") != cell.ledger)
    return "a record without this ledger";
  if (record.Interrupted()) return "a record of an interrupted run";
  if (!SameWindows(record, cell.windows)) return "a record of other windows";
  if (record.Fact("simulated_vs_kernel.failed") == "true")
    return "its record failed the gate between the paths";
  if (any_commit) return "";
  return WhyOtherProgram({record.Fact("tool.git_commit"), record.Fact("tool.dirty") != "false",
                          record.Fact("tool.program_sha256")},
                         {kGitCommit, kGitDirty, ProgramSha256()});
}

}  // namespace

std::string OwnConfigText(const std::string& resolved, const std::string& method) {
  return OwnConfig(resolved, method).dump();
}

std::string WhyOtherProgram(const Program& of_record, const Program& own) {
  if (own.sha256 != "none" && of_record.sha256 == own.sha256) return "";
  if (!IsTold(own)) return "this program is of a changed tree, so that no commit tells what it is";
  if (!IsTold(of_record)) return "a record of a changed tree";
  if (of_record.commit == own.commit) return "";
  return fmt::format("a record of commit {}", of_record.commit.substr(0, 12));
}

Facts OwnBuildAndMachine() {
  constexpr std::string_view kSection = "environment.";
  const nlohmann::ordered_json own = EnvironmentJson(DescribeEnvironment(1));
  Facts facts;
  for (const RecordField* field : FieldsWith(Role::kKnown)) {
    if (field->path.starts_with(kSection))
      facts[field->path] = own.at(field->path.substr(kSection.size())).get<std::string>();
  }
  return facts;
}

FinishedCells::FinishedCells(const fs::path& folder, const std::vector<const RunConfig*>& configs,
                             bool any_commit)
    : any_commit_(any_commit) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (!IsRecordOf(entry->path(), configs)) continue;
    try {
      records_.push_back(ReadRecord(entry->path()));
    } catch (const Error&) {  // measured again, which loses nothing
    }
  }
  std::sort(records_.begin(), records_.end(), IsNewer);
}

std::string FinishedCells::WhyUnfinished(const SoughtCell& cell) const {
  std::string why = kNoRecord;
  for (const StoredRecord& record : records_) {
    // Which weights they must be is among the facts.
    CellName name = cell.name;
    name.identity = record.cell.identity;
    if (record.cell != name || record.cell.model != name.model) continue;
    const std::string other = WhyOther(record, cell, any_commit_);
    if (other.empty()) return "";
    if (why == kNoRecord) why = other;
  }
  return why;
}

}  // namespace quantref
