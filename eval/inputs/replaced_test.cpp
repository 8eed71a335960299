#include "eval/inputs/replaced.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "eval/testing/sample_record.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::SampleRecord;
using testing::Stored;

// Of a run of these methods.
Json RecordOf(const std::vector<std::string>& methods) {
  Json record = SampleRecord();
  record["config"]["resolved"]["quantize"]["methods"] = methods;
  return record;
}

// What an interrupted run of the same cell would have recorded after these windows.
Json PartOf(Json record, const std::vector<size_t>& windows) {
  record["id"] = "of the part";
  record["protocol"]["interrupted"] = true;
  record["protocol"]["windows"] = windows.size();
  record["protocol"]["window_index"] = windows;
  for (const auto& [section, list] : {std::pair{"protocol", "window_scored"},
                                      {"accuracy", "window_nll"},
                                      {"accuracy", "reference_window_nll"}}) {
    Json& values = record[section][list];
    Json kept = Json::array();
    for (const size_t w : windows) kept.push_back(values[w]);
    values = kept;
  }
  return record;
}

const std::vector<size_t> kSome = {2, 3, 5, 7, 8, 11, 13, 14};

TEST_CASE("replaced: a record replaces parts of its cell, whatever other cells their run had") {
  const StoredRecord whole = Stored(RecordOf({"rtn"}));
  CHECK(Replaces(whole, Stored(PartOf(RecordOf({"rtn"}), kSome))));
  Json of_more = PartOf(RecordOf({"awq", "rtn", "gptq"}), kSome);
  of_more["config"]["resolved"]["throughput"] = "none";
  of_more["protocol"]["journal"] = "of another run";
  CHECK(Replaces(whole, Stored(of_more)));
  // A part that has more windows replaces one, too; not the other way, and not itself.
  const std::vector<size_t> fewer(kSome.begin(), kSome.end() - 1);
  Json first = PartOf(RecordOf({"rtn"}), fewer);
  first["id"] = "of the first part";
  CHECK(Replaces(Stored(of_more), Stored(first)));
  CHECK_FALSE(Replaces(Stored(first), Stored(of_more)));
  CHECK_FALSE(Replaces(Stored(first), Stored(first)));
}

TEST_CASE("replaced: what a record does not say itself stays") {
  const StoredRecord whole = Stored(RecordOf({"rtn"}));
  const auto stays = [&](const char* pointer, const Json& value) {
    INFO(pointer);
    Json part = PartOf(RecordOf({"rtn"}), kSome);
    part[Json::json_pointer(pointer)] = value;
    CHECK_FALSE(Replaces(whole, Stored(part)));
  };
  stays("/accuracy/window_nll/3", 17.5);
  stays("/accuracy/reference_window_nll/7", 17.5);
  stays("/protocol/window_scored/0", 99);
  stays("/protocol/window_index/7", 16);
  stays("/config/name", "other");
  stays("/config/resolved/quantize/weights/bits", 3);
  stays("/method", "gptq");
  stays("/model/sha256", std::string(64, 'f'));
  // Written by no program of ours.
  stays("/config/resolved/candidates", {5, {{"label", "rtn"}}});
  stays("/config/resolved/quantize", {1});
  for (const Json& entry : {Json{{"label", "rtn"}}, Json{{"label", "rtn"}, {"method", 5}}})
    stays("/config/resolved/quantize/methods", Json::array({entry}));
  StoredRecord divided = Stored(PartOf(RecordOf({"rtn"}), kSome));
  divided.facts["ledger.request"] = "16 windows";
  CHECK_FALSE(Replaces(whole, divided));
  // Of a cell that nothing is trained in.
  Json untrained = PartOf(RecordOf({"rtn"}), kSome);
  untrained["config"]["resolved"]["finetune"] = "none";
  CHECK(Replaces(whole, Stored(untrained)));
}

}  // namespace
}  // namespace quantref
