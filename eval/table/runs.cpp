#include "eval/table/runs.h"

#include <string_view>

#include "eval/record/schema.h"

namespace quantref {
namespace {

// What the table's labels say of when and where the record's speeds were measured.
std::string LabelOf(const TableSpec& spec, const TableRecord& record) {
  std::string label;
  for (const auto* fields : {&spec.rows, &spec.columns}) {
    for (const TableField& field : *fields) {
      const RecordField* known = FindField(PathOfAlias(field.field));
      if (known != nullptr && known->Is(Role::kNamesRun)) label += record.Field(field.field) + "\n";
    }
  }
  return label;
}

std::string LabelAndModel(const TableSpec& spec, const TableRecord& record) {
  return LabelOf(spec, record) + record.stored.cell.Model();
}

}  // namespace

std::optional<std::pair<const TableRecord*, const TableRecord*>> SeveralRuns(
    const TableSpec& spec, const std::vector<const TableRecord*>& records) {
  std::map<std::string, const TableRecord*> of_label, of_model;
  for (const TableRecord* record : records) {
    const TableRecord* same = of_model.emplace(LabelAndModel(spec, *record), record).first->second;
    if (same->timing != record->timing) return std::pair(same, record);
    const TableRecord* other = of_label.emplace(LabelOf(spec, *record), record).first->second;
    constexpr std::string_view kCommit = "tool.git_commit";
    if (other->stored.Fact(kCommit) != record->stored.Fact(kCommit))
      return std::pair(other, record);
  }
  return std::nullopt;
}

CellTimings::CellTimings(const TableSpec& spec, const TableRecords& records) : spec_(spec) {
  for (const TableRecord& record : records.records) {
    if (!record.stored.cell.reference && !record.timing.empty())
      timings_[LabelAndModel(spec, record)].insert(record.timing);
  }
}

bool CellTimings::AreOf(const TableRecord& reference) const {
  const auto found = timings_.find(LabelAndModel(spec_, reference));
  return found == timings_.end() || found->second == std::set<std::string>{reference.timing};
}

}  // namespace quantref
