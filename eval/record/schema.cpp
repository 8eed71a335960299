#include "eval/record/schema.h"

#include <algorithm>

#include "harness/base/check.h"

namespace quantref {
namespace {

using Index = std::vector<const RecordField*>;

bool HasPathBefore(const RecordField* field, std::string_view path) { return field->path < path; }

// By path, each once.
const Index& ByPath() {
  static const Index index = [] {
    Index fields;
    for (const RecordField& field : RecordSchema()) fields.push_back(&field);
    std::ranges::sort(fields, {}, &RecordField::path);
    const auto same = std::ranges::adjacent_find(fields, {}, &RecordField::path);
    QR_CHECK(same == fields.end());
    return fields;
  }();
  return index;
}

template <typename Wanted>
Index Select(const Wanted& wanted) {
  Index fields;
  for (const RecordField& field : RecordSchema()) {
    if (wanted(field)) fields.push_back(&field);
  }
  return fields;
}

}  // namespace

std::string_view TypeName(FieldType type) {
  switch (type) {
    case FieldType::kText:
      return "text";
    case FieldType::kFlag:
      return "flag";
    case FieldType::kCount:
      return "count";
    case FieldType::kNumber:
      return "number";
    case FieldType::kInterval:
      return "interval";
    case FieldType::kTexts:
      return "texts";
    case FieldType::kCounts:
      return "counts";
    case FieldType::kNumbers:
      return "numbers";
    case FieldType::kMap:
      return "map";
    case FieldType::kMaps:
      return "maps";
    case FieldType::kAnyMap:
      break;
  }
  return "any map";
}

bool IsSingle(FieldType type) {
  return type == FieldType::kText || type == FieldType::kFlag || type == FieldType::kCount ||
         type == FieldType::kNumber;
}

std::string_view StageName(Stage stage) {
  switch (stage) {
    case Stage::kText:
      return "text";
    case Stage::kTokens:
      return "tokens";
    case Stage::kCalibration:
      return "calibration";
    case Stage::kWeights:
      return "weights";
    case Stage::kPackedWeights:
      return "packed weights";
    case Stage::kPath:
      return "path";
    case Stage::kLogits:
      return "logits";
    case Stage::kNone:
      break;
  }
  return "";
}

bool RecordField::IsFact() const {
  return stage != Stage::kNone ||
         Is(Role::kIdentity | Role::kTool | Role::kRounding | Role::kMachine |
            Role::kSpeedIdentity | Role::kKnown | Role::kAsked);
}

bool RecordField::OnlyOldLack() const {
  if (presence == Presence::kOptional) return false;
  const size_t dot = path.rfind('.');
  return dot == std::string::npos || FindField(path.substr(0, dot))->OnlyOldLack();
}

std::string_view RecordField::Name() const {
  return std::string_view(path).substr(path.rfind('.') + 1);  // npos + 1 == 0
}

const RecordField* FindField(std::string_view path) {
  const Index& index = ByPath();
  const auto at = std::lower_bound(index.begin(), index.end(), path, HasPathBefore);
  return at == index.end() || (*at)->path != path ? nullptr : *at;
}

std::vector<const RecordField*> FieldsWith(unsigned role) {
  return Select([&](const RecordField& field) { return field.Is(role); });
}

std::vector<const RecordField*> FieldsOf(Stage stage) {
  return Select([&](const RecordField& field) { return field.stage == stage; });
}

std::string_view PathOfAlias(std::string_view name) {
  for (const RecordField& field : RecordSchema()) {
    if (!field.alias.empty() && field.alias == name) return field.path;
  }
  return name;
}

}  // namespace quantref
