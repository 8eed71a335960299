#include "eval/record/schema.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "eval/record/check.h"
#include "eval/record/schema_page.h"
#include "eval/testing/sample_record.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::SampleRecord;

std::string Around(const std::string& path) {
  std::string map = path.substr(0, path.rfind('.'));
  if (map.ends_with("[]")) map.resize(map.size() - 2);
  return map;
}

TEST_CASE("schema: every field is in a map that stands before it, and says what it means") {
  std::set<std::string> seen;
  for (const RecordField& field : RecordSchema()) {
    INFO(field.path);
    CHECK(seen.insert(field.path).second);
    CHECK(FindField(field.path) == &field);
    const bool is_map = field.type == FieldType::kMap || field.type == FieldType::kMaps;
    CHECK((is_map || !field.meaning.empty()));
    if (field.path.find('.') == std::string::npos) continue;
    REQUIRE(seen.contains(Around(field.path)));
    const FieldType around = FindField(Around(field.path))->type;
    CHECK(around == (field.path.find("[].") == field.path.rfind('.') - 2 ? FieldType::kMaps
                                                                         : FieldType::kMap));
  }
  CHECK(FindField("accuracy.pll") == nullptr);
}

TEST_CASE("schema: what rows name of other rows is there") {
  std::set<std::string_view> names;
  for (const RecordField& field : RecordSchema()) {
    INFO(field.path);
    if (!field.alias.empty()) {
      CHECK(names.insert(field.alias).second);
      CHECK(PathOfAlias(field.alias) == field.path);
    }
    const FieldMetric& metric = field.metric;
    if (metric.name.empty()) continue;
    CHECK(field.type == FieldType::kNumber);
    CHECK_FALSE(metric.header.empty());
    if (!metric.interval.empty()) {
      REQUIRE(FindField(metric.interval) != nullptr);
      CHECK(FindField(metric.interval)->type == FieldType::kInterval);
    }
    if (!metric.samples.empty()) {
      REQUIRE(FindField(metric.samples) != nullptr);
      CHECK(FindField(metric.samples)->type == FieldType::kNumbers);
      CHECK(FindField(metric.samples)->Is(Role::kSample));
    }
  }
  CHECK(PathOfAlias("accuracy.ppl") == "accuracy.ppl");
}

TEST_CASE("schema: what a stage or a machine is to blame for is known of old records, too") {
  for (const Stage stage : kStages) {
    CHECK_FALSE(StageName(stage).empty());
    CHECK_FALSE(FieldsOf(stage).empty());
    for (const RecordField* field : FieldsOf(stage)) CHECK(field->IsFact());
  }
  for (const unsigned role : {Role::kRounding, Role::kMachine}) {
    for (const RecordField* field : FieldsWith(role)) CHECK(field->presence == Presence::kRequired);
  }
}

// The same, for the fields of records, as the test of configs does for keys.
TEST_CASE("schema: the committed page and description are those of the program") {
  const auto file = [](const char* name) {
    return ReadFile(testing::SourceDir() / "results" / name, size_t{1} << 20);
  };
  // Else: run_eval --list fields > results/fields.md; run_eval --list record > results/fields.json
  CHECK(file("fields.md") == FieldsPage());
  CHECK(file("fields.json") == FieldsJson());
}

class Checked {
 public:
  explicit Checked(const Json& record)
      : document_(JsonDocument::Parse(record.dump(), "r.json")),
        fields_(document_.root(), "r.json") {}
  const RecordFields& fields() const { return fields_; }

 private:
  JsonDocument document_;
  RecordFields fields_;
};

Json With(const std::string& pointer, const Json& value) {
  Json record = SampleRecord();
  record[Json::json_pointer(pointer)] = value;
  return record;
}

TEST_CASE("check: any field of another type is refused, and what is required") {
  CHECK_NOTHROW(CheckRecord(Checked(SampleRecord()).fields()));
  const auto refuses = [](const Json& record, const std::string& path, const std::string& what) {
    CHECK_ERROR(CheckRecord(Checked(record).fields()), "r.json: " + path, what);
  };
  refuses(With("/peak_rss_bytes", "much"), "peak_rss_bytes", "a whole number, 0 or more");
  refuses(With("/accuracy/kl_p50", {1}), "accuracy.kl_p50", "a number, found a list of 1");
  refuses(With("/accuracy/kl_ci95", {1, 2, 3}), "accuracy.kl_ci95", "the two ends");
  refuses(With("/layers", {{{"name", 7}}}), "layers[0].name", "text, found 7");
  refuses(With("/simulated_linears", {"a", 1}), "simulated_linears", "a list of texts");
  Json record = SampleRecord();
  record["environment"].erase("os");
  refuses(record, "environment.os", "text, found nothing");
  CHECK_NOTHROW(CheckRecord(Checked(With("/accuracy/ppl", nullptr)).fields()));
  CHECK_NOTHROW(CheckRecord(Checked(With("/new_in_a_later_version", 1)).fields()));
}

TEST_CASE("check: what is written has all that the schema says, and nothing else") {
  const auto refuses = [](const Json& record, const std::string& path, const std::string& what) {
    CHECK_ERROR(CheckWritten(Checked(record).fields()), "r.json: " + path, what);
  };
  refuses(With("/accuracy/ppll", 1), "accuracy.ppll", "a field of the schema");
  refuses(With("/accuracy/ppl", "1"), "accuracy.ppl", "a number, found \"1\"");
  refuses(SampleRecord(), "accuracy.mean_nll", "a number, found nothing");
}

}  // namespace
}  // namespace quantref
