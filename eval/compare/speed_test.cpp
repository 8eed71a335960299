#include "eval/compare/speed.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "eval/compare/cells.h"
#include "eval/compare/gate.h"
#include "eval/compare/report.h"
#include "eval/testing/sample_record.h"
#include "harness/base/rng.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::MissingPart;
using testing::SampleRecord;
using testing::Stored;

Json Rates(size_t tokens, size_t threads, double median) {
  Json samples = Json::array();
  for (int i = -3; i <= 3; ++i) samples.push_back(median * (1 + 0.004 * i));
  return {{"tokens", tokens}, {"threads", threads}, {"samples", samples}};
}

Json Kernel(const std::string& op, size_t rows, size_t tokens, double ns) {
  return {{"op", op},     {"rows", rows},      {"cols", 512}, {"tokens", tokens},
          {"threads", 1}, {"streamed", false}, {"ns", ns}};
}

// A record with prefill and decode on one thread, and four kernels.
Json Timed(const std::string& method = "rtn") {
  Json record = SampleRecord("tiny", method);
  record["throughput"] = {
      {"prefill_tokens_s", {Rates(512, 1, 900)}},
      {"decode_tokens_s", {Rates(64, 1, 100)}},
      {"kernels",
       {Kernel("w4a16 g128 asym", 512, 1, 900), Kernel("w4a16 g128 asym", 1408, 1, 2500),
        Kernel("w4a16 g128 asym", 512, 128, 9e4), Kernel("w4a16 g128 asym", 1408, 128, 2e5)}},
      {"roofline",
       {{{"threads", 1},
         {"read_gbps_memory", 17.0},
         {"read_gbps_cache", 27.0},
         {"fp32_gflops", 210.0},
         {"int8_gops", 850.0}}}},
      {"free_cores", {{"before", 2.0}, {"after", 1.98}}}};
  return record;
}

Json TimedWith(const std::string& pointer, const Json& value, Json record = Timed()) {
  record[Json::json_pointer(pointer)] = value;
  return record;
}

Json Without(const std::string& section, const std::string& key, Json record) {
  record[section].erase(key);
  return record;
}

// The decode and one of its kernels take 1.3 times as long.
Json Slower() {
  Json record = TimedWith("/throughput/decode_tokens_s/0", Rates(64, 1, 100 / 1.3));
  record["throughput"]["kernels"][1]["ns"] = 2500 * 1.6;
  record["throughput"]["kernels"][0]["ns"] = 900 * 1.02;
  return record;
}

ComparedCell CompareTimed(const Json& before, const Json& now, const SpeedLimits& limits = {}) {
  static StoredRecord a, b;  // the result points to them
  a = Stored(before), b = Stored(now);
  return CompareRecords(a, b, kDefaultResolution, limits);
}

const RateFinding& Decode(const ComparedCell& cell) {
  REQUIRE(cell.speed);
  return *std::find_if(cell.speed->rates.begin(), cell.speed->rates.end(),
                       [](const RateFinding& rate) { return rate.name.decode; });
}

TEST_CASE("speed: no throughput on either side is no finding") {
  CHECK_FALSE(CompareTimed(SampleRecord(), SampleRecord()).speed);
  const Json kernels_alone =
      Without("throughput", "decode_tokens_s", Without("throughput", "prefill_tokens_s", Timed()));
  CHECK_FALSE(CompareTimed(kernels_alone, kernels_alone).speed);
}

TEST_CASE("speed: the same, and a slower kernel that is named") {
  const ComparedCell same = CompareTimed(Timed(), Timed());
  CHECK(same.speed->verdict == Verdict::kSame);
  CHECK(same.speed->rates.size() == 2);
  CHECK(same.changes.empty());

  const ComparedCell slower = CompareTimed(Timed(), Slower());
  CHECK(slower.accuracy->verdict == Verdict::kSame);
  CHECK(slower.speed->verdict == Verdict::kWorse);
  CHECK(slower.speed->rates[0].verdict == Verdict::kSame);  // the prefill
  const RateFinding& rate = Decode(slower);
  CHECK(rate.verdict == Verdict::kWorse);
  CHECK(rate.ratio->ratio == Approx(1 / 1.3).epsilon(0.01));
  CHECK(rate.ratio->interval->high < 0.9);
  CHECK(*rate.before == Approx(100));
  REQUIRE(rate.kernel);
  CHECK(rate.kernel->name.Text() == "w4a16 g128 asym 1408x512, M=1, 1 thread");
  CHECK(rate.kernel->ratio == Approx(1.6));

  const ComparedCell faster = CompareTimed(Slower(), Timed());
  CHECK(Decode(faster).verdict == Verdict::kBetter);
  CHECK(Decode(faster).kernel->ratio == Approx(1 / 1.6));
}

TEST_CASE("speed: a slower model whose kernels kept their speed blames none") {
  const ComparedCell cell =
      CompareTimed(Timed(), TimedWith("/throughput/decode_tokens_s/0", Rates(64, 1, 70)));
  CHECK(Decode(cell).verdict == Verdict::kWorse);
  CHECK_FALSE(Decode(cell).kernel);
  CHECK(Decode(cell).kernels == 2);
}

TEST_CASE("speed: the tolerance is that of the whole interval") {
  const auto verdict = [](double rate, double tolerance) {
    return Decode(CompareTimed(Timed(),
                               TimedWith("/throughput/decode_tokens_s/0", Rates(64, 1, rate)),
                               {.tolerance = tolerance}))
        .verdict;
  };
  CHECK(verdict(95, 0.1) == Verdict::kSame);  // a difference without doubt, and small
  CHECK(verdict(90, 0.1) == Verdict::kCannotTell);
  CHECK(verdict(88, 0.1) == Verdict::kWorse);
  CHECK(verdict(112, 0.1) == Verdict::kBetter);
  CHECK(verdict(88, 0.2) == Verdict::kSame);
}

TEST_CASE("speed: few samples and many") {
  const auto samples = [](size_t count) {
    Json list = Json::array();
    for (size_t i = 0; i < count; ++i) list.push_back(100 + 0.001 * static_cast<double>(i));
    return TimedWith("/throughput/decode_tokens_s/0/samples", list);
  };
  const ComparedCell few = CompareTimed(Timed(), samples(2));
  CHECK(Decode(few).verdict == Verdict::kCannotTell);
  CHECK(Decode(few).why == "7 and 2 samples give no interval, 4 and 4 do");
  CHECK(Decode(CompareTimed(samples(1000), samples(300))).verdict == Verdict::kSame);
}

TEST_CASE("speed: other machines and other code are not comparable") {
  for (const char* key : {"cpu", "isa", "compiler", "flags", "blas", "blas_core"}) {
    INFO(key);
    const ComparedCell cell =
        CompareTimed(Timed(), TimedWith(std::string("/environment/") + key, "another", Slower()));
    CHECK(cell.speed->verdict == Verdict::kNotComparable);
    CHECK(Decode(cell).why.find(std::string("environment.") + key + " differs: ") == 0);
    CHECK_FALSE(Decode(cell).ratio);
    CHECK(cell.changes.size() == 1);
  }
  Json size = TimedWith("/model/parameters", 5);
  CHECK(Decode(CompareTimed(size, TimedWith("/model/parameters", 6))).why ==
        "model.parameters differs: 5 and 6");
  const ComparedCell threads =
      CompareTimed(Timed(), TimedWith("/throughput/decode_tokens_s/0/threads", 2));
  CHECK(threads.speed->verdict == Verdict::kNotComparable);
  CHECK(Decode(threads).why == "threads differ: 1 and 2");
}

TEST_CASE("speed: rates and records that only one side has") {
  const ComparedCell gone =
      CompareTimed(Timed(), Without("throughput", "decode_tokens_s", Timed()));
  CHECK(Decode(gone).verdict == Verdict::kGone);
  CHECK(gone.speed->rates[0].verdict == Verdict::kSame);
  CHECK(CompareTimed(SampleRecord(), Timed()).speed->verdict == Verdict::kNew);
  const ComparedCell tokens =
      CompareTimed(Timed(), TimedWith("/throughput/decode_tokens_s/0/tokens", 32));
  CHECK(tokens.speed->rates[1].verdict == Verdict::kNew);
  CHECK(tokens.speed->rates[2].verdict == Verdict::kGone);
}

TEST_CASE("speed: a busy machine, or one that gave something else, tells nothing") {
  const Json busy = TimedWith("/throughput/busy", true,
                              TimedWith("/throughput/free_cores/after", 1.33, Slower()));
  for (const bool first : {true, false}) {
    const ComparedCell cell = first ? CompareTimed(busy, Timed()) : CompareTimed(Timed(), busy);
    CHECK(cell.speed->verdict == Verdict::kCannotTell);
    CHECK(Decode(cell).why == (first ? "the machine was busy: 1.33 and 1.98 of two cores free"
                                     : "the machine was busy: 1.98 and 1.33 of two cores free"));
    CHECK(Decode(cell).ratio);
  }
  const Json slow_memory = TimedWith("/throughput/roofline/0/read_gbps_memory", 12, Slower());
  const ComparedCell cell = CompareTimed(Timed(), slow_memory);
  CHECK(Decode(cell).verdict == Verdict::kCannotTell);
  CHECK(Decode(cell).why == "the machine itself gave another read_gbps_memory: 17 and 12");
  CHECK(Decode(CompareTimed(Timed(), slow_memory, {.machine = 0.5})).verdict == Verdict::kWorse);
  const Json near = TimedWith("/throughput/roofline/0/fp32_gflops", 195, Slower());
  CHECK(Decode(CompareTimed(Timed(), near)).verdict == Verdict::kWorse);
  const Json unmeasured = TimedWith("/throughput/roofline/0/int8_gops", 0, Slower());
  CHECK(Decode(CompareTimed(Timed(), unmeasured)).verdict == Verdict::kWorse);
}

// Reruns of one program: each draws its drift, each sample its noise.
TEST_CASE("speed: 50 identical reruns raise at most 2 alarms, a slower kernel always one") {
  Rng rng(4);
  const auto rerun = [&](double speed) {
    Json record = Timed();
    for (const char* kind : {"prefill_tokens_s", "decode_tokens_s"}) {
      const double drift = 1 + 0.05 * (2 * rng.Uniform() - 1);
      for (Json& sample : record["throughput"][kind][0]["samples"])
        sample = 100 * speed * drift * std::exp(0.03 * rng.Normal());
    }
    return record;
  };
  size_t alarms = 0, caught = 0;
  for (size_t i = 0; i < 50; ++i) {
    for (const RateFinding& rate : CompareTimed(rerun(1), rerun(1)).speed->rates)
      alarms += rate.verdict == Verdict::kWorse || rate.verdict == Verdict::kBetter;
    caught += CompareTimed(rerun(1), rerun(1 / 1.3)).speed->verdict == Verdict::kWorse;
  }
  CHECK(alarms <= 2);
  CHECK(caught >= 45);  // drift may hide one that is just beyond the tolerance
}

TEST_CASE("speed: malformed throughput is an Error with file and field") {
  const auto read = [](const std::string& pointer, const Json& value) {
    return Stored(TimedWith("/throughput" + pointer, value));
  };
  CHECK_ERROR(read("", 3), "record.json: throughput", "expected a map, found 3");
  CHECK_ERROR(read("/decode_tokens_s", 3), "throughput.decode_tokens_s", "a list of maps");
  CHECK_ERROR(read("/decode_tokens_s/0", 3), "record.json: throughput.decode_tokens_s[0]",
              "expected a map, found 3");
  CHECK_ERROR(read("/prefill_tokens_s/0/samples", Json::array()),
              "throughput.prefill_tokens_s[0].samples", "a list of 1 to 1000 numbers");
  CHECK_ERROR(read("/prefill_tokens_s/0/samples/2", 0), "throughput.prefill_tokens_s[0].samples[2]",
              "above 0, found 0");
  CHECK_ERROR(read("/prefill_tokens_s/0/samples/2", 1e300), "found 1e+300");
  CHECK_ERROR(read("/prefill_tokens_s/0/samples/2", "fast"), "found \"fast\"");
  CHECK_ERROR(read("/prefill_tokens_s/0/tokens", 0), ".tokens", "at least 1");
  CHECK_ERROR(read("/prefill_tokens_s/0/threads", nullptr), ".threads", "found null");
  CHECK_ERROR(read("/prefill_tokens_s/1", Rates(512, 1, 5)), "prefill_tokens_s[1].tokens",
              "prefill 512, 1 thread for the second time");
  CHECK_ERROR(read("/kernels/3/op", 1), "throughput.kernels[3].op", "expected text");
  CHECK_ERROR(read("/kernels/3/ns", -1), "throughput.kernels[3].ns", "found -1");
  CHECK_ERROR(read("/roofline/0/int8_gops", nullptr), "throughput.roofline[0].int8_gops");
  CHECK_ERROR(read("/free_cores", nullptr), "throughput.free_cores.before", "found nothing");
  CHECK_ERROR(read("/busy", "yes"), "throughput.busy", "true or false");
}

// Of synthetic weights: what the record of such a run has.
Json Synthetic(Json record) {
  for (const char* key : {"accuracy", "protocol", "dataset", "hashes", "calibration"})
    record.erase(key);
  record["model"] = {{"name", "tinyllama"}, {"synthetic", true}, {"parameters", 5}};
  return record;
}

RecordSet SetOf(const std::vector<Json>& records) {
  RecordSet set{"folder", true, {}};
  for (const Json& record : records) set.records.push_back(Stored(record));
  return set;
}

TEST_CASE("speed: models of random weights are compared by speed alone") {
  const RecordSet before = SetOf({Synthetic(Timed()), Synthetic(Timed("gone"))});
  const RecordSet now = SetOf({Synthetic(Slower()), Synthetic(Timed("new"))});
  const RecordComparison comparison = CompareSets(before, now, 0.002, 1);
  REQUIRE(comparison.cells.size() == 3);
  for (const ComparedCell& cell : comparison.cells) CHECK_FALSE(cell.accuracy);
  CHECK(comparison.cells[0].speed->verdict == Verdict::kWorse);
  CHECK(comparison.cells[1].speed->verdict == Verdict::kGone);
  CHECK(comparison.cells[2].speed->verdict == Verdict::kNew);
  const std::string text = ComparisonText(comparison, Gate{}, true);
  INFO(text);
  CHECK(MissingPart(text, {"speed: 2 of 6 rates judged: 1 worse, 2 gone, 2 new, 1 same",
                           "SYNTHETIC WEIGHTS",
                           "gate: FAILED by 2 cells (0 in accuracy, 2 in speed)"}) == "");
  CHECK(text.find("PPL") == std::string::npos);
  // Records that claim the same name but only the one of which has accuracy.
  Json odd = SampleRecord();
  odd["protocol"]["name"] = "";
  odd["model"]["name"] = "tinyllama";
  CHECK(CompareTimed(Synthetic(Timed()), odd).accuracy->verdict == Verdict::kNotComparable);
}

TEST_CASE("speed: text, Markdown, JSON and JUnit XML show both verdicts") {
  Json unsure = Timed("unsure");
  unsure["throughput"]["busy"] = true;
  const RecordSet before = SetOf({Timed(), SampleRecord("tiny", "plain"), Timed("unsure")});
  const RecordSet now = SetOf({Slower(), SampleRecord("tiny", "plain"), unsure});
  const RecordComparison comparison = CompareSets(before, now, 0.002, 1);
  const Gate gate;
  const std::string kernel = "w4a16 g128 asym 1408x512, M=1, 1 thread: time x 1.60";
  const std::string text = ComparisonText(comparison, gate, true);
  INFO(text);
  CHECK(MissingPart(text,
                    {"accuracy: 3 of 3 cells judged: 3 same; speed: 2 of 4 rates judged: 1 "
                     "worse, 2 cannot tell, 1 same",
                     kernel, "decode 64, 1 thread", "0.769 [", "speed cannot tell: the machine was",
                     "gate: FAILED by 2 cells (0 in accuracy, 2 in speed)"}) == "");
  const std::string markdown = ComparisonMarkdown(comparison, gate, true);
  INFO(markdown);
  CHECK(MissingPart(markdown, {"**accuracy: 3 of 3 cells judged: 3 same; speed: 2 of 4", kernel,
                               "| tiny rtn | decode 64, 1 thread | worse |",
                               "<summary>1 speed the same</summary>"}) == "");
  const Json json = Json::parse(ComparisonJson(comparison, gate, true));
  CHECK(json["gate"]["failures"] == 2);
  CHECK(json["gate"]["speed_failures"] == 2);
  CHECK(json["gate"]["speed_judged"] == Json{{"judged", 2}, {"of", 4}});
  CHECK(json["gate"]["accuracy_failures"] == 0);
  CHECK(json["gate"]["speed"]["tolerance"] == 0.1);
  CHECK(json["verdicts"]["same"] == 3);
  CHECK(json["speed_verdicts"]["worse"] == 1);
  const Json& cell = json["cells"][0];
  CHECK(cell["accuracy"]["verdict"] == "same");
  CHECK(cell["speed"]["verdict"] == "worse");
  const Json& rate = cell["speed"]["rates"][1];
  CHECK(rate["kind"] == "decode");
  CHECK(rate["ratio"].get<double>() == Approx(1 / 1.3).epsilon(0.01));
  CHECK(rate["ratio_ci95"].size() == 2);
  CHECK(rate["p"].get<double>() < 0.01);
  CHECK(rate["kernel"]["rows"] == 1408);
  CHECK(cell["speed"]["gate_failure"].get<std::string>().find("decode 64, 1 thread: 0.7") == 0);
  CHECK_FALSE(cell.contains("gate_failure"));  // of accuracy

  const std::string xml = ComparisonJUnit(comparison, gate);
  INFO(xml);
  CHECK(MissingPart(xml, {"tests=\"5\" failures=\"2\" errors=\"0\" skipped=\"0\"",
                          "name=\"tiny rtn speed\" time=\"0.000\">", "<failure type=\"worse\"",
                          "<failure type=\"cannot tell\"",
                          "<property name=\"decode_64_threads_1_ratio\" value=\"0.7",
                          "1408x512, M=1, 1 thread takes 1.60 times as long",
                          "name=\"tiny plain\" time=\"0.000\">"}) == "");
}

TEST_CASE("speed: the gate's limits") {
  const RecordSet before = SetOf({Timed()}), now = SetOf({Slower()});
  Gate gate;
  CHECK(GateFailures(gate, CompareSets(before, now, 0.002, 1)).speed == 1);
  gate.speed.fail_on = {Verdict::kCannotTell, Verdict::kNew};
  CHECK(GateFailures(gate, CompareSets(before, now, 0.002, 1)).cells == 0);
  CHECK(GateFailures(gate, CompareSets(SetOf({SampleRecord()}), now, 0.002, 1)).speed == 1);

  const testing::TempDir dir;
  const std::string file = (dir / "gate.yaml").string();
  const auto read = [&](const std::string& text) {
    testing::WriteFile(file, text);
    return ReadGate(file);
  };
  gate = read("speed: {tolerance: 0.25, machine: 0.3, fail_on: [worse, not comparable]}");
  CHECK(gate.speed.limits.tolerance == 0.25);
  CHECK(gate.speed.limits.machine == 0.3);
  CHECK(gate.speed.fail_on == std::set<Verdict>{Verdict::kWorse, Verdict::kNotComparable});
  CHECK_ERROR(read("speed: {tolerance: 10}"), "speed.tolerance", "a share above 0 and below 1");
  CHECK_ERROR(read("speed: {tolerence: 0.1}"), "did you mean 'tolerance'");
  CHECK_ERROR(read("speed: {fail_on: [same]}"), "unknown verdict 'same'");
  const Gate example = ReadGate((testing::SourceDir() / "results/gate.yaml").string());
  CHECK(example.speed.limits.tolerance == Gate{}.speed.limits.tolerance);
  CHECK(example.speed.limits.machine == Gate{}.speed.limits.machine);
  CHECK(example.speed.fail_on == Gate{}.speed.fail_on);
}

}  // namespace
}  // namespace quantref
