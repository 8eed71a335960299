// What stands in the records of run_eval: the contract of results/README.md.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <numeric>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "eval/record/schema.h"
#include "eval/record/store.h"
#include "eval/testing/run_eval_lab.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::RecordJson;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

// The records of one whole run, made once.
const RunEvalLab& FinishedLab() {
  static const RunEvalLab lab;
  static const testing::ProcessResult result =
      lab.Run({lab.config(), "--set",
               "throughput={standard_shapes: false, tokens: [1], prefill: 8, decode: 2, "
               "repetitions: 2}"});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  return lab;
}

bool Has(const RecordJson& record, const std::string& dotted) {
  const RecordJson* value = &record;
  std::istringstream keys(dotted);
  for (std::string key; std::getline(keys, key, '.');) {
    if (!value->is_object() || !value->contains(key)) return false;
    value = &(*value)[key];
  }
  return !value->is_null();
}

// The first of the fields that the record has, or lacks.
std::string FirstPresent(const RecordJson& record, const Strings& fields, bool present) {
  for (const std::string& field : fields) {
    if (Has(record, field) == present) return field;
  }
  return "";
}

TEST_CASE("record: every cell has what every cell has") {
  const Strings fields = {"schema",
                          "id",
                          "created",
                          "tool.version",
                          "tool.git_commit",
                          "tool.dirty",
                          "config.name",
                          "config.sha256",
                          "config.resolved",
                          "model.name",
                          "model.sha256",
                          "model.config_sha256",
                          "model.tokenizer_sha256",
                          "model.tokenizer_pieces",
                          "model.tokenizer_kind",
                          "model.vocabulary",
                          "model.parameters",
                          "model.dtype",
                          "method",
                          "effective_bits",
                          "dataset.name",
                          "model_effective_bits",
                          "dataset.sha256",
                          "protocol.name",
                          "protocol.tokens",
                          "protocol.windows",
                          "protocol.scored",
                          "protocol.token_sha256",
                          "accuracy.ppl",
                          "protocol.window_scored",
                          "accuracy.ppl_ci95",
                          "accuracy.mean_nll",
                          "accuracy.word_ppl",
                          "accuracy.bits_per_byte",
                          "environment.cpu",
                          "accuracy.window_nll",
                          "environment.cores",
                          "environment.threads",
                          "environment.isa",
                          "environment.compiler",
                          "environment.flags",
                          "environment.blas",
                          "environment.os",
                          "environment.blas_core",
                          "seconds.load",
                          "seconds.evaluate",
                          "peak_rss_bytes"};
  for (const char* method : {"fp16", "rtn"}) {
    INFO(method);
    CHECK(FirstPresent(FinishedLab().Record(method), fields, false) == "");
  }
}

TEST_CASE("record: a quantized cell has its scheme, layers and comparisons; fp16 has none") {
  const Strings fields = {"scheme.name",
                          "scheme.bits",
                          "path",
                          "simulated_vs_kernel.kl_mean",
                          "accuracy.reference_ppl",
                          "accuracy.reference_mean_nll",
                          "accuracy.delta_nll",
                          "accuracy.delta_nll_ci95",
                          "accuracy.kl_mean",
                          "accuracy.kl_ci95",
                          "accuracy.kl_p50",
                          "accuracy.kl_p90",
                          "accuracy.kl_p99",
                          "accuracy.kl_max",
                          "accuracy.top1_agreement",
                          "accuracy.top1_ci95",
                          "accuracy.reference_window_nll",
                          "layers",
                          "seconds.quantize"};
  CHECK(FirstPresent(FinishedLab().Record("rtn"), fields, false) == "");
  CHECK(FirstPresent(FinishedLab().Record("fp16"), fields, true) == "");
  const Strings unmeasured = {"dataset.split", "dataset.substituted_sample",
                              "protocol.cut_from_windows"};
  CHECK(FirstPresent(FinishedLab().Record("rtn"), unmeasured, true) == "");
}

TEST_CASE("record: metrics that were not asked for are absent") {
  const RunEvalLab lab;
  REQUIRE(lab.Run({lab.config(), "--set", "accuracy.metrics=[ppl]", "--windows", "2"}).exit_code ==
          0);
  const RecordJson rtn = lab.Record("rtn");
  const Strings fields = {"accuracy.kl_mean", "accuracy.top1_agreement", "accuracy.window_kl",
                          "accuracy.ppl_ci95"};
  CHECK(FirstPresent(rtn, fields, true) == "");
  CHECK(rtn["accuracy"].contains("delta_nll"));
  CHECK(rtn["protocol"]["windows"] == 2);
  CHECK(rtn["protocol"]["cut_from_windows"].get<size_t>() > 2);
}

TEST_CASE("record: top-1 agreement alone comes without KL") {
  const RunEvalLab lab;
  REQUIRE(lab.Run({lab.config(), "--set", "accuracy.metrics=[ppl, top1]", "--windows", "2"})
              .exit_code == 0);
  const RecordJson rtn = lab.Record("rtn");
  const Strings fields = {"accuracy.kl_mean", "accuracy.window_kl",
                          "accuracy.probability_change_mean"};
  CHECK(FirstPresent(rtn, fields, true) == "");
  CHECK(rtn["accuracy"].contains("top1_agreement"));
  CHECK(rtn["accuracy"]["window_same_top"].size() == 2);
}

TEST_CASE("record: divergences from kept logits stand beside KL, of the reference too") {
  const RunEvalLab lab;
  testing::CheckDone(lab.Run({lab.config(), "--set", "throughput=none", "--set",
                              "accuracy.metrics=[ppl, kl, kept_logits]"}));
  const RecordJson cell = lab.Record("rtn")["accuracy"];
  const RecordJson reference = lab.Record("fp16")["accuracy"]["kept_logits"];
  CHECK(cell["kept_logits"].size() == 6);
  CHECK(reference.size() == 6);
  for (const auto& [form, kept] : cell["kept_logits"].items()) {
    INFO(form);
    const double mean = kept["kl_mean"], error = kept["error"], kl = cell["kl_mean"];
    CHECK(mean - error == Approx(kl));
    CHECK(kept["window_kl"].size() == cell["window_kl"].size());
    CHECK(reference[form]["kl_mean"] == reference[form]["error"]);
    CHECK(std::abs(reference[form]["kl_mean"].get<double>()) < kl);
  }
  CHECK_FALSE(Has(lab.Record("rtn"), "accuracy.top1_agreement"));
}

TEST_CASE("record: the id is the hash of the rest, and the file is named after it") {
  const RunEvalLab& lab = FinishedLab();
  for (const std::string& name : lab.RecordFiles()) {
    INFO(name);
    RecordJson record = RecordJson::parse(ReadFile(lab.records() / name, size_t{1} << 24));
    const std::string id = record["id"], created = record["created"], method = record["method"];
    record.erase("id");
    CHECK(id == Sha256Hex(record.dump()).substr(0, 16));
    CHECK(record["schema"] == kRecordSchema);
    CHECK(name.starts_with("tiny-" + method + "-" + created.substr(0, 4)));
    CHECK(name.ends_with("-" + id.substr(0, 8) + ".json"));
    CHECK(created.size() == std::string("2026-01-31T12:34:56Z").size());
  }
}

TEST_CASE("record: hashes are those of what was read") {
  const RunEvalLab& lab = FinishedLab();
  const RecordJson rtn = lab.Record("rtn");
  const auto hash = [&](const char* file) {
    return Sha256Hex(ReadFile(lab / file, size_t{1} << 26));
  };
  CHECK(rtn["model"]["sha256"] == hash("model/model.safetensors"));
  CHECK(rtn["model"]["config_sha256"] == hash("model/config.json"));
  CHECK(rtn["model"]["tokenizer_sha256"] == hash("model/tokenizer.model"));
  CHECK(rtn["dataset"]["sha256"] == hash("text.txt"));
  CHECK(rtn["dataset"]["name"] == "text.txt");
  CHECK(rtn["config"]["sha256"] == Sha256Hex(rtn["config"]["resolved"].dump()));
  CHECK(rtn["config"]["resolved"]["quantize"]["weights"]["group"] == 16);
}

TEST_CASE("record: a perplexity that no double holds is absent, and printed as a finite text") {
  const RunEvalLab lab;
  testing::FileTensors tensors =
      testing::TinyTensors({.vocab = testing::kFewPieces, .context = 64});
  std::string& bytes = tensors.at("lm_head.weight").bytes;
  std::vector<float> head(bytes.size() / sizeof(float));
  std::memcpy(head.data(), bytes.data(), bytes.size());
  for (float& weight : head) weight *= 5000;
  std::memcpy(bytes.data(), head.data(), bytes.size());
  testing::WriteTensors(lab / "model", tensors);
  // The bounds between the paths are for logits of a model that works.
  const testing::ProcessResult result = lab.Run({lab.config(), "--set", "accuracy.path=simulated"});
  INFO(result.out << result.err);
  REQUIRE(result.exit_code == 0);
  for (const char* method : {"fp16", "rtn"}) {
    const RecordJson record = lab.Record(method);
    CHECK(record["accuracy"]["mean_nll"].get<double>() > 710);
    for (const char* field : {"ppl", "ppl_ci95", "word_ppl"})
      CHECK_FALSE(record["accuracy"].contains(field));
    CHECK(record.dump().find("null") == std::string::npos);
  }
  CHECK(result.out.find(">1e308") != std::string::npos);
  CHECK(result.out.find("rtn: PPL beyond 1e308, mean NLL ") != std::string::npos);
  for (const char* wrong : {" inf", "nan"}) CHECK(result.out.find(wrong) == std::string::npos);
}

double Sum(const RecordJson& values) {
  double sum = 0;
  for (const RecordJson& value : values) sum += value.get<double>();
  return sum;
}

TEST_CASE("record: aggregates follow from the samples beside them") {
  const RecordJson rtn = FinishedLab().Record("rtn");
  const RecordJson& accuracy = rtn["accuracy"];
  const RecordJson& protocol = rtn["protocol"];
  const double scored = Sum(protocol["window_scored"]);
  CHECK(protocol["scored"] == scored);
  CHECK(protocol["windows"] == protocol["window_scored"].size());
  CHECK(accuracy["window_nll"].size() == protocol["window_scored"].size());
  const double mean = Sum(accuracy["window_nll"]) / scored;
  const double reference = Sum(accuracy["reference_window_nll"]) / scored;
  const auto is = [](const RecordJson& found, double expected) {
    return found.get<double>() == Approx(expected).epsilon(1e-12);
  };
  CHECK(is(accuracy["mean_nll"], mean));
  CHECK(is(accuracy["ppl"], std::exp(mean)));
  CHECK(is(accuracy["reference_mean_nll"], reference));
  CHECK(is(accuracy["reference_ppl"], std::exp(reference)));
  CHECK(accuracy["delta_nll"].get<double>() == Approx(mean - reference).margin(1e-12));
  CHECK(is(accuracy["kl_mean"], Sum(accuracy["window_kl"]) / scored));
  CHECK(is(accuracy["top1_agreement"], Sum(accuracy["window_same_top"]) / scored));

  const std::string text = ReadFile(FinishedLab() / "text.txt", size_t{1} << 20);
  std::istringstream words(text);
  double count = 0;
  for (std::string word; words >> word;) ++count;
  // Whole numbers of words and bytes, nearly all of the text's: what its scored tokens hold.
  const double nll = Sum(accuracy["window_nll"]);
  const double scored_words = nll / std::log(accuracy["word_ppl"].get<double>());
  const double scored_bytes = nll / std::log(2.0) / accuracy["bits_per_byte"].get<double>();
  for (const double whole : {scored_words, scored_bytes})
    CHECK(whole == Approx(std::round(whole)).epsilon(1e-9));
  CHECK(scored_words / count == Approx(1).margin(0.1));
  CHECK(scored_bytes / static_cast<double>(text.size()) == Approx(1).margin(0.1));
}

TEST_CASE("record: intervals hold their estimates and layers their bits") {
  const RecordJson rtn = FinishedLab().Record("rtn");
  const RecordJson& accuracy = rtn["accuracy"];
  for (const auto& [value, interval] :
       std::vector<std::pair<std::string, std::string>>{{"ppl", "ppl_ci95"},
                                                        {"delta_nll", "delta_nll_ci95"},
                                                        {"kl_mean", "kl_ci95"},
                                                        {"top1_agreement", "top1_ci95"}}) {
    INFO(value);
    CHECK(accuracy[interval][0].get<double>() <= accuracy[value].get<double>());
    CHECK(accuracy[interval][1].get<double>() >= accuracy[value].get<double>());
  }
  for (const char* lower : {"kl_p50", "kl_p90", "kl_p99"})
    CHECK(accuracy[lower].get<double>() <= accuracy["kl_max"].get<double>());
  CHECK(rtn["layers"].size() == 14);
  for (const RecordJson& layer : rtn["layers"]) {
    CHECK(layer["bits"] == 4 + 20.0 / 16);  // an FP16 scale and a 4-bit zero point for 16 weights
    CHECK(layer["weight_mse"].get<double>() > 0);
  }
  CHECK(rtn["effective_bits"] == 4 + 20.0 / 16);
  CHECK(FinishedLab().Record("fp16")["effective_bits"] == 32);  // the tiny model's own
}

TEST_CASE("record: WriteRecords never touches another file, and writes all or none") {
  const testing::TempDir dir;
  const std::vector<Record> records = {{"a.json", "{}\n"}};
  CHECK(WriteRecords(records, dir.path()) == std::vector<fs::path>{dir / "a.json"});
  CHECK(ReadFile(dir / "a.json", 100) == "{}\n");
  const std::vector<Record> others = {{"b.json", "other"}, {"a.json", "other"}};
  CHECK_ERROR(WriteRecords(others, dir.path()), "a.json", "left as it is");
  CHECK(ReadFile(dir / "a.json", 100) == "{}\n");
  CHECK_FALSE(fs::exists(dir / "b.json"));
}

TEST_CASE("record: PrepareRecordFolder makes a folder, or says why it cannot") {
  const testing::TempDir dir;
  PrepareRecordFolder(dir / "a/b");
  CHECK(fs::is_directory(dir / "a/b"));
  CHECK(fs::is_empty(dir / "a/b"));
  PrepareRecordFolder(dir / "a/b");
  testing::WriteFile(dir / "file", "x");
  CHECK_ERROR(PrepareRecordFolder(dir / "file"), "--out", "cannot be written", "file");
  CHECK_ERROR(PrepareRecordFolder(dir / "file/below"), "--out", "cannot be written");
  CHECK_ERROR(PrepareRecordFolder(""), "--out");
}

}  // namespace
}  // namespace quantref
