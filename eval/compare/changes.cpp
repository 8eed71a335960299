#include "eval/compare/changes.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

namespace quantref {
namespace {

using Json = nlohmann::json;

constexpr const char* kIdentity[] = {
    "model.synthetic", "model.sha256",           "model.dtype",
    "model.outliers",  "model.tokenizer_sha256", "protocol.token_sha256"};

constexpr const char* kPackedWeights = "packed weights";

struct StageFact {
  const char *stage, *path;
  bool in_all = true;  // false: where one of the two lacks it, that is no change
};
// In the order of the work: what differs first explains what differs later.
constexpr StageFact kStages[] = {
    {"text", "dataset.sha256"},
    {"tokens", "model.tokenizer_sha256"},
    {"tokens", "protocol.token_sha256"},
    {"calibration", "calibration.token_sha256"},
    {"weights", "model.sha256"},
    {"weights", "model.dtype"},
    {"weights", "model.outliers"},
    {"weights", "model.config_sha256", false},
    {kPackedWeights, "hashes.packed_weights"},
    {"path", "path"},  // kernels or decoded weights: the same weights then give other logits
    {"logits", "hashes.first_window_logits"},
};

// Builds and machines that differ in one of these may round sums of calibration inputs otherwise.
constexpr const char* kOwnBits[] = {"environment.compiler", "environment.flags", "environment.isa",
                                    "environment.blas", "environment.blas_core"};
constexpr const char* kTool[] = {"tool.version", "tool.git_commit", "tool.dirty"};
constexpr const char* kEnvironment[] = {
    "environment.compiler",  "environment.flags", "environment.isa", "environment.blas",
    "environment.blas_core", "environment.cpu",   "environment.os"};

std::optional<Change> Changed(const StoredRecord& a, const StoredRecord& b, const char* path) {
  if (a.Fact(path) == b.Fact(path)) return std::nullopt;
  return Change{path, a.Fact(path), b.Fact(path)};
}

void AddChanges(const StoredRecord& a, const StoredRecord& b, std::span<const char* const> paths,
                std::vector<Change>& changes) {
  for (const char* path : paths) {
    if (const auto change = Changed(a, b, path)) changes.push_back(*change);
  }
}

// The first matrix that has other codes or was not quantized before; nothing where none is, or no
// record says it.
std::optional<Cause> FirstChangedMatrix(const StoredRecord& a, const StoredRecord& b) {
  const auto& before = a.matrices;
  const auto& now = b.matrices;
  for (size_t m = 0; m < std::min(before.size(), now.size()); ++m) {
    if (before[m].name != now[m].name)
      return Cause{kPackedWeights, {"layers[].name", before[m].name, now[m].name}, now[m].name};
    if (before[m].packed_sha256 != now[m].packed_sha256) {
      return Cause{kPackedWeights,
                   {"layers[].packed_sha256", before[m].packed_sha256, now[m].packed_sha256},
                   now[m].name};
    }
  }
  return std::nullopt;
}

std::string Shown(const Json* value) { return value == nullptr ? "none" : value->dump(); }

// The keys whose values differ, with their paths; lists are compared whole.
void AddConfigChanges(const Json* a, const Json* b, const std::string& path,
                      std::vector<Change>& changes) {
  if (a != nullptr && b != nullptr && *a == *b) return;
  const auto is_map = [](const Json* value) { return value != nullptr && value->is_object(); };
  if (!is_map(a) || !is_map(b)) {
    changes.push_back({path, Shown(a), Shown(b)});
    return;
  }
  const auto find = [](const Json& map, const std::string& key) {
    const auto item = map.find(key);
    return item == map.end() ? nullptr : &*item;
  };
  const auto below = [&](const std::string& key) { return fmt::format("{}.{}", path, key); };
  for (const auto& [key, value] : a->items())
    AddConfigChanges(&value, find(*b, key), below(key), changes);
  for (const auto& [key, value] : b->items()) {
    if (!a->contains(key)) AddConfigChanges(nullptr, &value, below(key), changes);
  }
}

}  // namespace

std::vector<Change> IdentityChanges(const StoredRecord& baseline, const StoredRecord& candidate) {
  std::vector<Change> changes;
  AddChanges(baseline, candidate, kIdentity, changes);
  return changes;
}

std::optional<Cause> FirstChangedStage(const StoredRecord& baseline,
                                       const StoredRecord& candidate) {
  for (const StageFact& fact : kStages) {
    const bool told = !baseline.Fact(fact.path).empty() && !candidate.Fact(fact.path).empty();
    if (!told && !fact.in_all) continue;
    const auto change = Changed(baseline, candidate, fact.path);
    if (!change) continue;
    if (std::string_view(fact.stage) == kPackedWeights) {
      if (auto matrix = FirstChangedMatrix(baseline, candidate)) return matrix;
    }
    return Cause{fact.stage, *change};
  }
  return std::nullopt;
}

bool HasOtherWeights(const StoredRecord& baseline, const StoredRecord& candidate) {
  if (!IdentityChanges(baseline, candidate).empty()) return false;
  const auto change = Changed(baseline, candidate, "hashes.packed_weights");
  if (!change || change->baseline == "none" || change->candidate == "none") return false;
  const bool calibrated = candidate.Fact("calibration.token_sha256") != "none";
  return !calibrated ||
         std::none_of(std::begin(kOwnBits), std::end(kOwnBits), [&](const char* path) {
           return baseline.Fact(path) != candidate.Fact(path);
         });
}

std::vector<Change> OtherChanges(const StoredRecord& baseline, const StoredRecord& candidate) {
  std::vector<Change> changes;
  if (baseline.Fact("config.sha256") != candidate.Fact("config.sha256")) {
    const Json before = Json::parse(baseline.resolved), now = Json::parse(candidate.resolved);
    AddConfigChanges(&before, &now, "config", changes);
  }
  AddChanges(baseline, candidate, kTool, changes);
  AddChanges(baseline, candidate, kEnvironment, changes);
  return changes;
}

}  // namespace quantref
