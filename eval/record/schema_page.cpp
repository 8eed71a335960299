#include "eval/record/schema_page.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "eval/record/schema.h"

namespace quantref {
namespace {

using Json = nlohmann::ordered_json;

const char* PresenceText(Presence presence) {
  switch (presence) {
    case Presence::kRequired:
      return "always";
    case Presence::kRequiredOfText:
      return "with a text";
    case Presence::kRequiredOfComplete:
      return "with a text, of complete runs";
    case Presence::kWritten:
      return "always; older records may lack it";
    case Presence::kWrittenOfText:
      return "with a text; older records may lack it";
    case Presence::kOptional:
      break;
  }
  return "where there is something to say";
}

constexpr std::pair<unsigned, const char*> kRoleNames[] = {
    {Role::kIdentity, "identity"},  {Role::kTool, "tool"},           {Role::kRounding, "rounding"},
    {Role::kMachine, "machine"},    {Role::kSpeedIdentity, "speed"}, {Role::kKnown, "known"},
    {Role::kNamesRun, "names run"}, {Role::kPlace, "place"},         {Role::kAsked, "asked"},
    {Role::kSample, "sample"},      {Role::kAggregate, "aggregate"}, {Role::kMoment, "moment"}};

Json RolesJson(const RecordField& field) {
  Json roles = Json::array();
  for (const auto& [role, name] : kRoleNames) {
    if (field.Is(role)) roles.push_back(name);
  }
  return roles;
}

Json FieldJson(const RecordField& field) {
  Json json = {{"path", field.path},
               {"type", TypeName(field.type)},
               {"presence", PresenceText(field.presence)}};
  if (!field.unit.empty()) json["unit"] = field.unit;
  if (field.roles != 0) json["roles"] = RolesJson(field);
  if (field.stage != Stage::kNone) json["stage"] = StageName(field.stage);
  if (field.stamp.letter != 0) {
    json["stamp"] = {{"letter", std::string(1, field.stamp.letter)},
                     {"text", field.stamp.text},
                     {"of_speed", field.stamp.of_speed}};
    if (field.stamp.of_rates) json["stamp"]["of_rates"] = true;
    if (!field.stamp.value.empty()) json["stamp"]["value"] = field.stamp.value;
  }
  return json;
}

}  // namespace

std::string FieldsPage() {
  std::string page =
      "<!-- run_eval --list fields -->\n# Fields of a record\n\n"
      "By their dotted paths; of the items of a list `[]` stands behind its name. "
      "[README.md](README.md) says what records are for.\n\n"
      "| field | type | unit | stands there | meaning |\n|---|---|---|---|---|\n";
  for (const RecordField& field : RecordSchema()) {
    page += fmt::format("| `{}` | {} | {} | {} | {} |\n", field.path, TypeName(field.type),
                        field.unit, PresenceText(field.presence), field.meaning);
  }
  return page;
}

std::string FieldsJson() {
  std::string fields;
  for (const RecordField& field : RecordSchema())
    fields += (fields.empty() ? "" : ",\n  ") + FieldJson(field).dump();
  return fmt::format("{{\n \"schema\": {},\n \"fields\": [\n  {}\n ]\n}}\n", kRecordSchema, fields);
}

}  // namespace quantref
