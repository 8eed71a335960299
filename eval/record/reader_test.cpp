#include "eval/record/reader.h"

#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "eval/testing/sample_record.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::SampleRecord;
using testing::Stored;
using testing::TempDir;
using testing::WriteFile;

TEST_CASE("ReadRecord: what comparison needs") {
  const StoredRecord record = Stored(SampleRecord("tiny", "gptq"));
  CellName expected{"tiny", "gptq", "wikilm", "gptq-2048"};
  expected.identity = record.cell.identity;  // hashes of the model
  CHECK(record.cell == expected);
  CHECK(record.cell.model == "wikilm");
  CHECK(record.cell.Text() == "tiny gptq");
  CHECK(record.Fact("model.sha256") == std::string(64, '2'));
  CHECK(record.Fact("tool.dirty") == "false");
  CHECK(record.Fact("model.outliers") == "none");
  CHECK(record.window_nll.size() == 16);
  CHECK(record.window_index.back() == 15);
  CHECK(record.MeanNll() == Approx(3.05).margin(0.05));
  CHECK(record.stamps.empty());
}

TEST_CASE("ReadRecord: seeds, the reference, partial runs, stamps") {
  Json json = SampleRecord();
  json["calibration"]["seed"] = 5;
  CHECK_FALSE(Stored(json).cell.seed);  // one seed is part of the config, not of the cell's name
  json["calibration"]["seeds"] = {{"seeds", {0, 5}}};
  CHECK(Stored(json).cell.Text() == "tiny rtn seed=5");

  const StoredRecord reference = Stored(SampleRecord("tiny", "fp16"));
  CHECK(reference.reference_window_nll == reference.window_nll);
  CHECK(reference.Fact("calibration.token_sha256") == "none");

  json["calibration"]["contaminated"] = true;
  json["dataset"]["substituted_sample"] = true;
  CHECK(Stored(json).stamps.size() == 2);

  json["calibration"]["used_by"] = "layer report";  // then it explains nothing, and spoils nothing
  CHECK(Stored(json).Fact("calibration.token_sha256") == "none");
  CHECK(Stored(json).stamps.size() == 1);

  Json index = Json::array();
  for (size_t w = 0; w < 16; ++w) index.push_back(3 * w);
  json["protocol"]["window_index"] = index;
  CHECK(Stored(json).window_index[2] == 6);
}

TEST_CASE("ReadRecord: what is no record is an Error that names file, field and value") {
  const auto broken = [](const std::function<void(Json&)>& change) {
    Json json = SampleRecord();
    change(json);
    return json;
  };
  const auto pointer = [&](const std::string& path, const Json& value) {
    return broken([&](Json& json) { json[Json::json_pointer(path)] = value; });
  };
  CHECK_ERROR(Stored(Json::array()), "record.json", "expected a record, found a list of 0");
  CHECK_ERROR(Stored(pointer("/schema", 2)), "record.json: schema", "expected 1, found 2");
  CHECK_ERROR(Stored(pointer("/schema", "1")), "expected 1, found \"1\"");
  CHECK_ERROR(Stored(pointer("/created", "yesterday")), "created", "2026-01-31T12:34:56Z");
  CHECK_ERROR(Stored(pointer("/method", "a\nb")), "method", "without control characters");
  CHECK_ERROR(Stored(pointer("/model", 7)), "model.name", "expected text, found nothing");
  CHECK_ERROR(Stored(pointer("/config/resolved", "x")), "config.resolved", "expected a map");
  CHECK_ERROR(Stored(pointer("/protocol/windows", 0)), "protocol.windows", "at least 1");
  CHECK_ERROR(Stored(pointer("/protocol/windows", 15)), "protocol.window_scored",
              "a list of 15, one a window, found a list of 16");
  CHECK_ERROR(Stored(pointer("/protocol/windows", -1)), "whole number", "found -1");
  CHECK_ERROR(Stored(pointer("/protocol/window_scored/3", 0)), "protocol.window_scored[3]");
  CHECK_ERROR(Stored(pointer("/accuracy/window_nll/2", nullptr)), "accuracy.window_nll[2]",
              "an NLL in nats, found null");
  CHECK_ERROR(Stored(pointer("/accuracy/window_nll/2", 1e300)), "an NLL in nats");
  CHECK_ERROR(Stored(pointer("/protocol/window_index", std::vector<int>(16, 1))),
              "protocol.window_index[1]", "more than the one before, found 1");
  CHECK_ERROR(Stored(broken([](Json& json) { json["hashes"].erase("first_window_logits"); })),
              "hashes.first_window_logits", "expected text, found nothing");
  CHECK_ERROR(Stored(broken([](Json& json) { json["accuracy"].erase("reference_window_nll"); })),
              "accuracy.reference_window_nll", "found nothing");
  CHECK_ERROR(ReadRecord("no/such/record.json"), "no/such/record.json");
}

TEST_CASE("ReadRecords: folders, and the newest record of each cell") {
  const TempDir dir;
  const auto put = [&](const std::string& name, const std::string& method,
                       const std::string& created, const std::string& id) {
    Json json = SampleRecord("tiny", method);
    json["created"] = created;
    json["id"] = id;
    WriteFile(dir / name, json.dump());
  };
  put("rtn-old.json", "rtn", "2026-01-01T00:00:00Z", "old");
  put("sub/rtn-new.json", "rtn", "2026-02-01T00:00:00Z", "new");
  put("sub/rtn-older.json", "rtn", "2025-02-01T00:00:00Z", "older");
  put("sub/deep/gptq.json", "gptq", "2026-01-01T00:00:00Z", "gptq");
  WriteFile(dir / ".hidden.json", "no record");
  WriteFile(dir / ".hidden/inside.json", "no record");
  WriteFile(dir / "left.json.tmp", "no record");
  WriteFile(dir / "README.md", "no record");
  for (const size_t threads : {1, 4}) {
    const RecordSet set = ReadRecords(dir.path(), threads);
    CHECK(set.is_set);
    CHECK(set.passed_over == 2);
    REQUIRE(set.records.size() == 2);
    CHECK(set.records[0].id == "gptq");
    CHECK(set.records[1].id == "new");
  }
  const RecordSet one = ReadRecords(dir / "rtn-old.json", 1);
  CHECK_FALSE(one.is_set);
  CHECK(one.records.at(0).id == "old");

  const TempDir elsewhere;
  const Json list = {SampleRecord("tiny", "gptq"), SampleRecord("tiny", "rtn")};
  WriteFile(elsewhere / "baseline.json", list.dump());
  const RecordSet baseline = ReadRecords(elsewhere / "baseline.json", 1);
  CHECK(baseline.is_set);
  REQUIRE(baseline.records.size() == 2);
  CHECK(baseline.records[1].cell.method == "rtn");
  CHECK_ERROR(ReadRecord(elsewhere / "baseline.json"), "expected a record, found a list of 2");
  Json damaged = list;
  damaged[1]["method"] = 3;
  WriteFile(elsewhere / "baseline.json", damaged.dump());
  CHECK_ERROR(ReadRecords(elsewhere / "baseline.json", 1), "baseline.json[1]: method");
  WriteFile(elsewhere / "baseline.json", "[]");
  CHECK_ERROR(ReadRecords(elsewhere / "baseline.json", 1), "found an empty list");

  WriteFile(dir / "broken.json", "{");
  CHECK_ERROR(ReadRecords(dir.path(), 2), "broken.json", "invalid JSON");
  WriteFile(dir / "empty/readme.txt", "");
  CHECK_ERROR(ReadRecords(dir / "empty", 1), "empty", "expected records");
}

}  // namespace
}  // namespace quantref
