#include "eval/compare/changes.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "eval/record/schema.h"
#include "harness/io/json_reader.h"

namespace quantref {
namespace {

const std::string kPacked{StageName(Stage::kPackedWeights)};

bool FieldDiffers(const StoredRecord& a, const StoredRecord& b, const RecordField& field) {
  return a.Fact(field.path) != b.Fact(field.path);
}

void AddChanges(const StoredRecord& a, const StoredRecord& b, unsigned role,
                std::vector<Change>& changes) {
  for (const RecordField* field : FieldsWith(role)) {
    if (FieldDiffers(a, b, *field))
      changes.push_back({field->path, a.Fact(field->path), b.Fact(field->path)});
  }
}

bool AnyDiffers(const StoredRecord& a, const StoredRecord& b, unsigned role) {
  const std::vector<const RecordField*> fields = FieldsWith(role);
  return std::ranges::any_of(fields,
                             [&](const RecordField* field) { return FieldDiffers(a, b, *field); });
}

bool BothHaveOther(const StoredRecord& a, const StoredRecord& b, const std::string& fact) {
  const std::string before = a.Fact(fact), now = b.Fact(fact);
  return before != now && before != "none" && now != "none";
}

// Older records do not say everything that all records should: what one of the two lacks is no
// change.
bool BothSay(const StoredRecord& a, const StoredRecord& b, const RecordField& field) {
  const auto says = [&](const StoredRecord& record) { return record.facts.contains(field.path); };
  return !field.OnlyOldLack() || (says(a) && says(b));
}

// The first matrix that has other codes or was not quantized before; nothing where none is, or no
// record says it.
std::optional<Cause> FirstChangedMatrix(const StoredRecord& a, const StoredRecord& b) {
  const auto& before = a.matrices;
  const auto& now = b.matrices;
  for (size_t m = 0; m < std::min(before.size(), now.size()); ++m) {
    if (before[m].name != now[m].name)
      return Cause{kPacked, {"layers[].name", before[m].name, now[m].name}, now[m].name};
    if (before[m].packed_sha256 != now[m].packed_sha256) {
      return Cause{kPacked,
                   {"layers[].packed_sha256", before[m].packed_sha256, now[m].packed_sha256},
                   now[m].name};
    }
  }
  return std::nullopt;
}

std::string Shown(const std::optional<JsonValue>& value) { return value ? value->Dump() : "none"; }

// Whole numbers are the real ones of their value, and the keys of a map have no order.
bool SameValue(JsonValue a, JsonValue b) {
  if (a.Natural() && b.Natural()) return a.Natural() == b.Natural();
  if (a.IsNumber() && b.IsNumber()) return a.Number() == b.Number();
  if (a.IsList() && b.IsList()) return std::ranges::equal(a.Items(), b.Items(), SameValue);
  if (!a.IsMap() || !b.IsMap()) return a.Dump() == b.Dump();
  return a.size() == b.size() && std::ranges::all_of(a.Entries(), [&](const auto& entry) {
           const std::optional<JsonValue> other = b.Find(entry.first);
           return other && SameValue(entry.second, *other);
         });
}

// The keys whose values differ, with their paths; lists are compared whole.
void AddConfigChanges(const std::optional<JsonValue>& a, const std::optional<JsonValue>& b,
                      const std::string& path, std::vector<Change>& changes) {
  if (a && b && SameValue(*a, *b)) return;
  if (!a || !b || !a->IsMap() || !b->IsMap()) {
    changes.push_back({path, Shown(a), Shown(b)});
    return;
  }
  const auto below = [&](std::string_view key) { return fmt::format("{}.{}", path, key); };
  for (const auto& [key, value] : a->Entries())
    AddConfigChanges(value, b->Find(key), below(key), changes);
  for (const auto& [key, value] : b->Entries()) {
    if (!a->Find(key)) AddConfigChanges(std::nullopt, value, below(key), changes);
  }
}

}  // namespace

std::vector<Change> IdentityChanges(const StoredRecord& baseline, const StoredRecord& candidate) {
  std::vector<Change> changes;
  AddChanges(baseline, candidate, Role::kIdentity, changes);
  return changes;
}

std::vector<Change> InputChanges(const StoredRecord& baseline, const StoredRecord& candidate) {
  std::vector<Change> changes;
  for (const RecordField* field : FieldsOf(Stage::kWeights)) {
    if (field->Is(Role::kIdentity)) continue;  // then they are not compared at all
    if (FieldDiffers(baseline, candidate, *field) && BothSay(baseline, candidate, *field))
      changes.push_back({field->path, baseline.Fact(field->path), candidate.Fact(field->path)});
  }
  return changes;
}

std::optional<Cause> FirstChangedStage(const StoredRecord& baseline,
                                       const StoredRecord& candidate) {
  for (const Stage stage : kStages) {
    for (const RecordField* field : FieldsOf(stage)) {
      if (!FieldDiffers(baseline, candidate, *field) || !BothSay(baseline, candidate, *field))
        continue;
      if (stage == Stage::kPackedWeights) {
        if (auto matrix = FirstChangedMatrix(baseline, candidate)) return matrix;
      }
      return Cause{std::string(StageName(stage)),
                   {field->path, baseline.Fact(field->path), candidate.Fact(field->path)}};
    }
  }
  return std::nullopt;
}

bool HasOtherWeights(const StoredRecord& baseline, const StoredRecord& candidate) {
  if (!IdentityChanges(baseline, candidate).empty()) return false;
  if (!BothHaveOther(baseline, candidate, "hashes.packed_weights")) {
    // Of files whose numbers are decoded, or plain, that hash is none.
    return candidate.Fact("hashes.packed_weights") == "none" &&
           (BothHaveOther(baseline, candidate, "candidate.sha256") ||
            BothHaveOther(baseline, candidate, "candidate.config_sha256"));
  }
  const bool calibrated = candidate.Fact("calibration.token_sha256") != "none";
  return !calibrated || !AnyDiffers(baseline, candidate, Role::kRounding);
}

std::vector<Change> OtherChanges(const StoredRecord& baseline, const StoredRecord& candidate) {
  std::vector<Change> changes = InputChanges(baseline, candidate);
  if (baseline.Fact("config.sha256") != candidate.Fact("config.sha256")) {
    const JsonDocument before = JsonDocument::Parse(baseline.resolved, "config.resolved"),
                       now = JsonDocument::Parse(candidate.resolved, "config.resolved");
    AddConfigChanges(before.root(), now.root(), "config", changes);
  }
  for (const unsigned role : {Role::kTool, Role::kRounding, Role::kMachine})
    AddChanges(baseline, candidate, role, changes);
  return changes;
}

}  // namespace quantref
