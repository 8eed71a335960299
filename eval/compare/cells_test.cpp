#include "eval/compare/cells.h"

#include <catch2/catch.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "eval/compare/changes.h"
#include "eval/testing/sample_record.h"
#include "harness/base/rng.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::SampleRecord;
using testing::ShiftNll;
using testing::Stored;
using testing::TempDir;
using testing::WriteFile;

const std::string kOther(64, 'f');

// The sample compared with itself after a change.
struct Compared {
  StoredRecord baseline, candidate;
  ComparedCell cell;

  explicit Compared(const Json& changed, double resolution = kDefaultResolution)
      : baseline(Stored(SampleRecord("tiny", changed["method"]))),
        candidate(Stored(changed)),
        cell(CompareRecords(baseline, candidate, resolution)) {}
  Verdict verdict() const { return cell.accuracy->verdict; }
  const std::string& why() const { return cell.accuracy->why; }
};

Json Shifted(double nats, double noise = 0) {
  Json record = SampleRecord();
  ShiftNll(record, nats, noise);
  return record;
}

Json With(const std::string& pointer, const Json& value, Json record = SampleRecord()) {
  record[Json::json_pointer(pointer)] = value;
  return record;
}

TEST_CASE("verdict: same, better, worse, cannot tell") {
  const Compared same(SampleRecord());
  CHECK(same.verdict() == Verdict::kSame);
  CHECK(same.cell.accuracy->identical);
  CHECK(*same.cell.accuracy->delta == 0);

  const Compared worse(Shifted(0.01, 0.004));
  CHECK(worse.verdict() == Verdict::kWorse);
  CHECK(*worse.cell.accuracy->delta == Approx(0.01));
  CHECK(worse.cell.accuracy->interval->low > 0);
  CHECK(worse.cell.accuracy->interval->high > 0.01);
  CHECK(Compared(Shifted(-0.01, 0.004)).verdict() == Verdict::kBetter);
  CHECK(Compared(Shifted(0.01)).verdict() == Verdict::kWorse);  // the same in every window

  const Compared wide(Shifted(0, 0.02));
  CHECK(wide.verdict() == Verdict::kCannotTell);
  CHECK(wide.why().find("wider than ±0.002 nats") != std::string::npos);
  const Compared narrow(Shifted(0, 0.002));
  CHECK(narrow.verdict() == Verdict::kSame);
  CHECK_FALSE(narrow.cell.accuracy->identical);
  CHECK(Compared(Shifted(0, 0.02), 0.05).verdict() == Verdict::kSame);
  CHECK(Compared(Shifted(0, 0.002), 0.0001).verdict() == Verdict::kCannotTell);
}

TEST_CASE("verdict: a change within rounding is none, however sure") {
  const Compared rounding(Shifted(5e-6));
  CHECK_FALSE(rounding.cell.accuracy->interval->Contains(0));
  CHECK(rounding.verdict() == Verdict::kSame);
  CHECK(Compared(Shifted(2e-5)).verdict() == Verdict::kWorse);
}

TEST_CASE("verdict: too few windows say nothing, unless they are the same bits") {
  Json few = SampleRecord();
  for (const char* path :
       {"/protocol/window_scored", "/accuracy/window_nll", "/accuracy/reference_window_nll"}) {
    Json& list = few[Json::json_pointer(path)];
    list.erase(list.begin() + 4, list.end());
  }
  few["protocol"]["windows"] = 4;
  Json shifted = few;
  ShiftNll(shifted, 0.1, 0.01);
  const StoredRecord baseline = Stored(few);
  const ComparedCell cell = CompareRecords(baseline, Stored(shifted), kDefaultResolution);
  CHECK(cell.accuracy->verdict == Verdict::kCannotTell);
  CHECK(cell.accuracy->why == "4 windows give no interval, 8 do");
  CHECK(CompareRecords(baseline, baseline, kDefaultResolution).accuracy->verdict == Verdict::kSame);
}

TEST_CASE("not comparable: the difference is named with both values") {
  const std::vector<std::pair<std::string, Json>> changes = {{"model.sha256", kOther},
                                                             {"model.dtype", "fp16"},
                                                             {"model.outliers", {{"scale", 50}}},
                                                             {"model.tokenizer_sha256", kOther},
                                                             {"protocol.token_sha256", kOther}};
  for (const auto& [path, value] : changes) {
    std::string pointer = "/" + path;
    pointer[pointer.find('.')] = '/';
    const Compared compared(With(pointer, value));
    CHECK(compared.verdict() == Verdict::kNotComparable);
    CHECK(compared.why() == path + " differs: " + ShortHash(compared.baseline.Fact(path)) +
                                " and " + ShortHash(compared.candidate.Fact(path)));
    CHECK_FALSE(compared.cell.accuracy->delta);
  }
  const Compared two(
      With("/protocol/token_sha256", kOther, With("/model/tokenizer_sha256", kOther)));
  CHECK(two.why() ==
        "model.tokenizer_sha256 differs: 333333333333 and ffffffffffff; so does "
        "protocol.token_sha256");
}

TEST_CASE("not comparable: another config.json, where both records say it") {
  Json before = SampleRecord();
  before["model"]["config_sha256"] = std::string(64, '9');
  const Json now = With("/model/config_sha256", kOther);
  const auto compare = [](const Json& a, const Json& b) {
    const StoredRecord baseline = Stored(a), candidate = Stored(b);
    const ComparedCell cell = CompareRecords(baseline, candidate, kDefaultResolution);
    return std::tuple(cell.accuracy->why, cell.cause ? cell.cause->Text() : "", cell.changes);
  };
  Json other = now;
  other["accuracy"]["reference_window_nll"][2] = 1000.0;
  CHECK(std::get<0>(compare(before, other))
            .find("model.config_sha256 differs: 999999999999 and ffffffffffff: the reference gives "
                  "other NLLs") == 0);
  // Before there was such a field, nothing is to be said of it.
  CHECK(std::get<0>(compare(SampleRecord(), other)).find("the harness changed") == 0);

  Json shifted = now;
  testing::ShiftNll(shifted, 0.01);
  const auto [why, cause, changes] = compare(before, shifted);
  CHECK(cause == "weights");
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].what == "model.config_sha256");
  CHECK(std::get<1>(compare(SampleRecord(), shifted)) == "");
}

TEST_CASE("not comparable: other windows") {
  CHECK(Compared(With("/protocol/window_scored/3", 99)).why() ==
        "protocol.window_scored[3] differs: 100 and 99");
  Json index = Json::array();
  for (size_t w = 0; w < 16; ++w) index.push_back(w + (w > 9 ? 5 : 0));
  CHECK(Compared(With("/protocol/window_index", index)).why() ==
        "protocol.window_index[10] differs: 10 and 15");
  Json fewer = SampleRecord();
  for (const char* path :
       {"/protocol/window_scored", "/accuracy/window_nll", "/accuracy/reference_window_nll"})
    fewer[Json::json_pointer(path)].erase(15);
  fewer["protocol"]["windows"] = 15;
  CHECK(Compared(fewer).why() == "protocol.windows differs: 16 and 15");
}

TEST_CASE("not comparable: another reference, but for the rounding of another machine") {
  const Json last_bit =
      With("/accuracy/reference_window_nll/2",
           SampleRecord()["accuracy"]["reference_window_nll"][2].get<double>() + 1e-9);
  const Compared changed(last_bit);
  CHECK(changed.verdict() == Verdict::kNotComparable);
  CHECK(changed.why().find("the harness changed: the reference gives other NLLs") == 0);
  CHECK(changed.why().find("in window 2 on the same machine") != std::string::npos);
  CHECK(Compared(With("/environment/isa", "avx512", last_bit)).verdict() == Verdict::kSame);
  const Compared too_much(
      With("/environment/isa", "avx512", With("/accuracy/reference_window_nll/2", 310)));
  CHECK(too_much.verdict() == Verdict::kNotComparable);
  CHECK(too_much.why().find("more than the rounding") != std::string::npos);
  Json reference = SampleRecord("tiny", "fp16");
  ShiftNll(reference, 1e-3);  // the reference's own cell: its NLLs are the reference
  CHECK(Compared(reference).verdict() == Verdict::kNotComparable);
}

TEST_CASE("a reference that an older record calls fp16 is the same cell under its type's name") {
  const StoredRecord older = Stored(SampleRecord("tiny", "fp16"));
  const StoredRecord newer = Stored(SampleRecord("tiny", "fp32"));
  CHECK(older.cell == newer.cell);
  CHECK(newer.cell.Text() == "tiny fp32");
  CHECK(CompareRecords(older, newer, kDefaultResolution).accuracy->verdict == Verdict::kSame);
  Json quantized = SampleRecord("tiny", "rtn");
  quantized["scheme"] = {{"name", "int4"}};
  quantized["method"] = "bf16";  // a label that configs of old could give
  CHECK(Stored(quantized).cell != older.cell);
}

TEST_CASE("blame: the first stage that changed") {
  const std::vector<std::pair<std::string, std::string>> stages = {
      {"/dataset/sha256", "text"},
      {"/protocol/token_sha256", "tokens"},
      {"/calibration/token_sha256", "calibration"},
      {"/model/sha256", "weights"},
      {"/hashes/packed_weights", "packed weights"},
      {"/hashes/first_window_logits", "logits"}};
  // Each stage together with all that follow from it.
  Json record = Shifted(0.01);
  CHECK_FALSE(Compared(record).cell.cause);  // after the first window: in no hash
  for (auto stage = stages.rbegin(); stage != stages.rend(); ++stage) {
    record[Json::json_pointer(stage->first)] = kOther;
    const Compared compared(record);
    INFO(stage->first);
    REQUIRE(compared.cell.cause);
    CHECK(compared.cell.cause->stage == stage->second);
    CHECK(compared.cell.cause->change.candidate == kOther);
  }
  CHECK(Compared(With("/model/tokenizer_sha256", kOther)).cell.cause->stage == "tokens");
  CHECK(Compared(With("/model/outliers", {{"scale", 9}})).cell.cause->stage == "weights");
  // The same weights through other products: not the kernels' fault.
  Json simulated = With("/hashes/first_window_logits", kOther, Shifted(0.01));
  simulated["path"] = "simulated";
  const StoredRecord kernel = Stored(With("/path", "kernel"));
  const ComparedCell cell = CompareRecords(kernel, Stored(simulated), kDefaultResolution);
  REQUIRE(cell.cause);
  CHECK(cell.cause->stage == "path");
  CHECK(cell.cause->change == Change{"path", "kernel", "simulated"});
  // Nothing to explain.
  CHECK_FALSE(Compared(With("/hashes/packed_weights", kOther)).cell.cause);
  // The layer report alone read it.
  Json unused = With("/calibration/token_sha256", kOther, Shifted(0.01));
  unused["calibration"]["used_by"] = "layer report";
  Json before = SampleRecord();
  before["calibration"]["used_by"] = "layer report";
  CHECK_FALSE(CompareRecords(Stored(before), Stored(unused), 0.002).cause);
}

TEST_CASE("blame: config keys, tool and environment stand beside it") {
  Json record = Shifted(0.01);
  record["config"]["sha256"] = kOther;
  record["config"]["resolved"]["quantize"]["weights"]["bits"] = 3;
  record["config"]["resolved"]["quantize"]["keep"] = {"lm_head"};
  record["tool"]["dirty"] = true;
  record["environment"]["blas"] = "another";
  CHECK(Compared(record).cell.changes ==
        std::vector<Change>{{"config.quantize.weights.bits", "4", "3"},
                            {"config.quantize.keep", "none", "[\"lm_head\"]"},
                            {"tool.dirty", "false", "true"},
                            {"environment.blas", "OpenBLAS", "another"}});
}

TEST_CASE("blame: how a config's numbers are written is no change of it, in maps of lists either") {
  const auto changed = [](const char* before, const char* now) {
    const auto record = [](const char* methods, const std::string& sha256) {
      return Stored(With("/config/resolved/quantize/methods", Json::parse(methods),
                         With("/config/sha256", sha256)));
    };
    return OtherChanges(record(before, "of the one"), record(now, "of the other"));
  };
  constexpr char kOne[] = R"([{"label": "a", "gptq": {"damp": 1, "block": 128}}])";
  CHECK(changed(kOne, R"([{"gptq": {"block": 128.0, "damp": 1.0}, "label": "a"}])").empty());
  for (const char* other : {R"([{"label": "a", "gptq": {"damp": 2, "block": 128}}])",
                            R"([{"label": "a", "gptq": {"damp": 1}}])", R"([{"label": "a"}])"}) {
    INFO(other);
    CHECK(changed(kOne, other).size() == 1);
    CHECK(changed(other, kOne).size() == 1);
  }
}

RecordSet Set(const std::vector<Json>& records) {
  RecordSet set{"folder", true, {}};
  for (const Json& record : records) set.records.push_back(Stored(record));
  return set;
}

TEST_CASE("CompareSets: cells by name, the most alarming first") {
  Json seed = SampleRecord("a", "gptq");
  seed["calibration"]["seeds"] = {{"seeds", {0, 1}}};
  Json other_seed = seed;
  other_seed["calibration"]["seed"] = 1;
  Json worse = SampleRecord("b", "rtn");
  ShiftNll(worse, 0.01);
  const RecordSet baseline = Set({SampleRecord("a", "rtn"), SampleRecord("b", "rtn"), seed});
  const RecordSet candidate =
      Set({SampleRecord("a", "rtn"), worse, other_seed, SampleRecord("c", "rtn")});
  for (const size_t threads : {1, 3}) {
    const RecordComparison comparison = CompareSets(baseline, candidate, 0.002, threads);
    std::vector<std::string> found;
    for (const ComparedCell& cell : comparison.cells)
      found.push_back(cell.cell().Text() + ": " + VerdictName(cell.accuracy->verdict));
    CHECK(found == std::vector<std::string>{"b rtn: worse", "a gptq seed=0: gone",
                                            "a gptq seed=1: new", "c rtn: new", "a rtn: same"});
  }
}

TEST_CASE("CompareSets: a model is its hashes, its name is what it is called") {
  const Json moved = With("/model/name", "elsewhere/wikilm");
  const RecordComparison same = CompareSets(Set({SampleRecord()}), Set({moved}), 0.002, 1);
  REQUIRE(same.cells.size() == 1);
  CHECK(same.cells[0].accuracy->identical);
  // Other weights under the name of the old ones are no new cell: they are not comparable.
  const Json retrained = With("/model/sha256", kOther);
  const RecordComparison other = CompareSets(Set({SampleRecord()}), Set({retrained}), 0.002, 1);
  REQUIRE(other.cells.size() == 1);
  CHECK(other.cells[0].accuracy->verdict == Verdict::kNotComparable);
  // Two models of one name: each finds its own.
  const RecordComparison two =
      CompareSets(Set({SampleRecord(), retrained}), Set({retrained, SampleRecord()}), 0.002, 1);
  REQUIRE(two.cells.size() == 2);
  for (const ComparedCell& cell : two.cells) CHECK(cell.accuracy->identical);
}

TEST_CASE("RequireComparable: two records that do not belong together are an Error") {
  const auto require = [](const Json& candidate) {
    const RecordSet a = Set({SampleRecord()}), b = Set({candidate});
    RequireComparable(CompareSets(a, b, 0.002, 1));
  };
  CHECK_NOTHROW(require(Shifted(0.1)));
  CHECK_ERROR(require(SampleRecord("tiny", "gptq")), "method differs: rtn and gptq");
  CHECK_ERROR(require(SampleRecord("big")), "config.name differs: tiny and big");
  CHECK_ERROR(require(With("/protocol/name", "llamacpp-512")),
              "protocol.name differs: gptq-2048 and llamacpp-512");
  CHECK_NOTHROW(require(With("/model/name", "the same weights elsewhere")));
  CHECK_ERROR(require(With("/model/name", "other", With("/model/sha256", kOther))),
              "model.name differs: wikilm and other");
  CHECK_ERROR(require(With("/model/sha256", kOther)),
              "not comparable: model.sha256 differs: 222222222222 and ffffffffffff");
}

// Every value of the record in turn is another type, and bytes at random places are others: an
// Error or a record, but nothing else.
TEST_CASE("ReadRecord: wrong types and damaged bytes never crash") {
  const Json sample = SampleRecord();
  const StoredRecord undamaged = Stored(sample);
  const TempDir dir;
  size_t errors = 0, tries = 0;
  const auto attempt = [&](const std::string& text) {
    WriteFile(dir / "r.json", text);
    ++tries;
    try {
      CompareRecords(undamaged, ReadRecord(dir / "r.json"), kDefaultResolution);
    } catch (const Error&) {
      ++errors;
    }
  };
  const std::vector<Json> wrong = {nullptr, true, -1, 1e99, "text", Json::array(), Json::object()};
  const Json flat = sample.flatten();
  for (const auto& [path, unused] : flat.items()) {
    for (const Json& value : wrong) {
      Json json = sample;
      json[Json::json_pointer(path)] = value;
      attempt(json.dump());
      json[Json::json_pointer(path).parent_pointer()] = value;
      attempt(json.dump());
    }
  }
  const std::string text = sample.dump();
  Rng rng(7);
  for (size_t i = 0; i < 2000; ++i) {
    std::string damaged = text;
    for (size_t j = 0; j <= rng.Below(4); ++j)
      damaged[rng.Below(damaged.size())] = static_cast<char>(rng.Below(256));
    if (i % 4 == 0) damaged.resize(rng.Below(damaged.size()));
    attempt(damaged);
  }
  CHECK(errors > tries / 2);
  CHECK(errors < tries);
}

}  // namespace
}  // namespace quantref
