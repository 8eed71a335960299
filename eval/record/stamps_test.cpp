// Tables stamp by the schema's rows, plots by the same rows in results/fields.json: they must find
// the same.
#include "eval/record/stamps.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "eval/record/schema.h"
#include "eval/testing/plotter.h"
#include "eval/testing/process.h"
#include "eval/testing/sample_record.h"
#include "eval/testing/table_lab.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using Json = nlohmann::json;

// What stamps tell beside the field that they are rows of.
Json Stampable() {
  Json record = testing::TableSample("awq", 0.01, 0.001);
  testing::AddSpeed(record, 100);
  for (const char* quantile : {"kl_p50", "kl_p90", "kl_p99", "kl_p999", "kl_max"})
    record["accuracy"][quantile] = 1;
  const Json shares = {{"unknown_share", 0.5}, {"unknown_bytes_share", 0.25}};
  record["finetune"]["dataset"] = "wikitext-2";
  for (const char* section : {"/protocol", "/calibration", "/finetune", "/budget/calibration"})
    record[Json::json_pointer(section)].update(shares);
  record["layers"] = Json::array({{{"name", "lm_head"}, {"method", "rtn"}}});
  record["candidate"]["notes"] = Json::array({{{"what", "probably MISREAD"}, {"count", 1}}});
  record["model"]["foreign"]["notes"] = record["candidate"]["notes"];
  return record;
}

// "/layers/0/asked" of "layers[].asked".
Json::json_pointer PointerTo(std::string path) {
  std::replace(path.begin(), path.end(), '.', '/');
  const size_t list = path.find("[]");
  if (list != std::string::npos) path.replace(list, 2, "/0");
  return Json::json_pointer("/" + path);
}

void Say(Json& record, const RecordField& row) {
  Json& value = record[PointerTo(row.path)];
  if (row.type == FieldType::kFlag) {
    value = true;
  } else if (row.type == FieldType::kCount) {
    value = 100;
  } else if (row.type == FieldType::kTexts) {
    value = Json::array({"lm_head"});
  } else {
    value = row.stamp.value.empty() ? "gptq" : std::string(row.stamp.value);
  }
}

std::string LettersOf(const std::vector<Stamp>& stamps) {
  std::string letters;
  for (const Stamp& stamp : stamps) letters += stamp.letter;
  letters.erase(std::unique(letters.begin(), letters.end()), letters.end());
  return letters;
}

std::vector<std::string> LettersOfPlots(const Json& records) {
  constexpr const char* kLetters = R"(
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from plotting.parse import read_record
for record in json.load(open(sys.argv[2])):
    print("".join(sorted({stamp.letter for stamp in read_record(record, "x.json").stamps})))
)";
  const testing::TempDir dir;
  testing::WriteFile(dir / "records.json", records.dump());
  const testing::ProcessResult result = testing::RunProcess(
      {testing::kPython, "-c", kLetters, (testing::SourceDir() / "scripts").string(),
       (dir / "records.json").string()});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  std::istringstream lines(result.out);
  std::vector<std::string> letters;
  for (std::string line; std::getline(lines, line);) letters.push_back(line);
  return letters;
}

TEST_CASE("stamps: those of every row are found, by tables and by plots") {
  Json records = Json::array({Stampable()}), all = Stampable();
  std::vector<std::string> expected = {""};
  std::string every;
  for (const RecordField& row : RecordSchema()) {
    if (row.stamp.letter == 0) continue;
    Say(records.emplace_back(Stampable()), row);
    Say(all, row);
    expected.emplace_back(1, row.stamp.letter);
    every += row.stamp.letter;
  }
  std::sort(every.begin(), every.end());
  every.erase(std::unique(every.begin(), every.end()), every.end());
  records.push_back(all);
  expected.push_back(every);

  std::vector<std::string> found;
  for (const Json& record : records) found.push_back(LettersOf(testing::Stored(record).stamps));
  CHECK(found == expected);
  if (!std::filesystem::exists(testing::kPython)) return;
  CHECK(LettersOfPlots(records) == expected);
}

TEST_CASE("stamps: what was not timed, and a text that only the layer report read, have none") {
  Json untimed = Stampable(), unread = Stampable();
  untimed.erase("throughput");
  untimed["path"] = "simulated";
  unread["calibration"]["used_by"] = "layer report";
  unread["calibration"]["too_much_unknown"] = true;
  for (const Json& record : {untimed, unread}) CHECK(testing::Stored(record).stamps.empty());
  if (!std::filesystem::exists(testing::kPython)) return;
  CHECK(LettersOfPlots(Json::array({untimed, unread})) == std::vector<std::string>{"", ""});
}

}  // namespace
}  // namespace quantref
