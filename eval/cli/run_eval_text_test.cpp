#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/base/rng.h"
#include "harness/io/file.h"
#include "harness/testing/tiny_model.h"

// Whole runs: what a record says of the text that was measured and of the one that methods
// calibrated on.

namespace quantref {
namespace {

using testing::CheckDone;
using testing::Contains;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using testing::WriteFile;
using Strings = std::vector<std::string>;

std::string SampleText(const std::string& split, size_t bytes) {
  return ReadFile(testing::SourceDir() / ("eval/sample/sample." + split + ".raw"), size_t{1} << 20)
      .substr(0, bytes);
}

// Runs the lab's config, or that of a method that calibrates on calibration.txt, with --set of
// these.
ProcessResult Measure(const RunEvalLab& lab, const Strings& assignments,
                      const Strings& arguments = {}) {
  Strings all = {lab.config(), "--rerun"};
  for (const std::string& assignment : assignments) {
    all.emplace_back("--set");
    all.push_back(assignment);
  }
  all.insert(all.end(), arguments.begin(), arguments.end());
  return lab.Run(all);
}

const Strings kCalibrated = {"quantize.methods=[gptq]",
                             "calibration={dataset: ./calibration.txt, samples: 20, length: 64}"};

// A model of 32 letters in place of the lab's.
void WriteLetterModel(const RunEvalLab& lab, bool bos) {
  testing::TinyModel shape{.vocab = testing::kLetterPieces, .context = 64};
  nlohmann::json config = testing::TinyConfig(shape);
  if (!bos) config.erase("bos_token_id");
  testing::WriteTinyModel(lab / "model", shape);
  WriteFile(lab / "model/config.json", config.dump());
  testing::WriteLetterTokenizer(lab / "model", bos);
}

std::string Letters(uint64_t seed, size_t count) {
  Rng rng(seed);
  std::string text;
  for (size_t i = 0; i < count; ++i) text += static_cast<char>('a' + rng.Below(26));
  return text;
}

// Characters that no two places have in common.
std::string Chinese(size_t first, size_t count) {
  std::string text;
  for (size_t i = first; i < first + count; ++i) {
    const size_t character = 0x4e00 + i * 7919 % 20000;
    text += static_cast<char>(0xe0 | character >> 12);
    text += static_cast<char>(0x80 | (character >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (character & 0x3f));
  }
  return text;
}

TEST_CASE("run_eval: BOS is put where the tokenizer puts it, or as the config says", "[text]") {
  const Strings protocols = {"gptq-2048", "llamacpp-32"};
  for (const std::string& protocol : protocols) {
    INFO(protocol);
    const Strings base = {"quantize.methods=[]", "accuracy.protocol=" + protocol};
    const auto record = [&](const std::string& rule, const std::string& tokenizer_config) {
      const RunEvalLab lab;
      if (!tokenizer_config.empty())
        WriteFile(lab / "model/tokenizer_config.json", tokenizer_config);
      Strings assignments = base;
      assignments.push_back("accuracy.bos=" + rule);
      const ProcessResult result = Measure(lab, assignments);
      CheckDone(result);
      RecordJson made = lab.Record("fp32");
      CHECK(Contains(result.out, "without BOS") != made["protocol"]["bos"].get<bool>());
      CHECK(made["config"]["resolved"]["accuracy"]["bos"] == rule);
      return made;
    };
    const RecordJson with = record("tokenizer", ""),
                     without = record("tokenizer", R"({"add_bos_token": false})");
    CHECK(with["protocol"]["bos"] == true);
    CHECK(without["protocol"]["bos"] == false);
    CHECK(with["protocol"]["tokens"].get<int>() == without["protocol"]["tokens"].get<int>() + 1);
    CHECK(with["accuracy"]["window_nll"][0] != without["accuracy"]["window_nll"][0]);
    if (protocol == "gptq-2048") continue;
    const RecordJson always = record("always", R"({"add_bos_token": false})"),
                     never = record("never", "");
    CHECK(always["accuracy"] == with["accuracy"]);
    CHECK(never["accuracy"] == without["accuracy"]);
  }
}

TEST_CASE("run_eval: a model without BOS is measured and calibrated without it", "[text]") {
  const RunEvalLab lab;
  WriteLetterModel(lab, false);
  WriteFile(lab / "text.txt", Letters(1, 500));
  WriteFile(lab / "calibration.txt", Letters(2, 200));
  Strings assignments = kCalibrated;
  assignments.emplace_back("accuracy.protocol=llamacpp-16");
  CheckDone(Measure(lab, assignments));
  CHECK(lab.Record("gptq")["protocol"]["bos"] == false);
  CHECK(lab.Record("gptq")["protocol"]["tokens"] == 501);  // a space and the letters
  assignments.emplace_back("accuracy.bos=always");
  const ProcessResult always = Measure(lab, assignments);
  CHECK(always.exit_code == 2);
  CHECK(Contains(always.err, "accuracy.bos"));
  CHECK(Contains(always.err, "names a BOS token"));
}

TEST_CASE("run_eval: any window, and the record names the one that was read", "[text]") {
  const auto protocol = [](const Strings& assignments) {
    const RunEvalLab lab;
    Strings all = {"quantize.methods=[]"};
    all.insert(all.end(), assignments.begin(), assignments.end());
    CheckDone(Measure(lab, all));
    return lab.Record("fp32")["protocol"];
  };
  const RecordJson cut = protocol({}), named = protocol({"accuracy.protocol=gptq-64"});
  CHECK(cut["name"] == "gptq-64");  // gptq-2048 by the config, a context of 64 by the model
  CHECK(cut == named);
  const RecordJson small = protocol({"accuracy.window=16"});
  CHECK(small["name"] == "gptq-16");
  CHECK(small["window"] == 16);
  CHECK(small["window_scored"][0] == 15);
  const RecordJson chunks = protocol({"accuracy.protocol=llamacpp-512", "accuracy.window=40"});
  CHECK(chunks["name"] == "llamacpp-40");
  CHECK(chunks["window_scored"][0] == 19);
  CHECK(protocol({"accuracy.protocol=full-stride"})["window"] == 64);
  for (const char* beyond : {"accuracy.protocol=gptq-128", "accuracy.window=2048"}) {
    const RunEvalLab lab;
    const ProcessResult result = Measure(lab, {beyond});
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, "the model has 64"));
  }
}

TEST_CASE("run_eval: the start of the test text in calibration is seen where it is measured",
          "[text]") {
  const RunEvalLab lab;
  WriteFile(lab / "text.txt", SampleText("test", 40000));
  WriteFile(lab / "calibration.txt", SampleText("test", 1500) + SampleText("validation", 2500));
  const ProcessResult refused = Measure(lab, kCalibrated, {"--windows", "4"});
  CHECK(refused.exit_code == 2);
  CHECK(Contains(refused.err, "of the measured windows' runs of 50 characters"));
  Strings allowed = kCalibrated;
  allowed.emplace_back("calibration.allow_overlap=true");
  const ProcessResult result = Measure(lab, allowed, {"--windows", "4"});
  CheckDone(result);
  CHECK(Contains(result.out, "CONTAMINATED: "));
  const RecordJson calibration = lab.Record("gptq")["calibration"];
  CHECK(calibration["contaminated"] == true);
  CHECK(calibration["overlap_with_test"].get<double>() > 0.2);
  CHECK_FALSE(calibration.contains("is_test_text"));
}

TEST_CASE("run_eval: one Chinese text for calibration and test is contamination", "[text]") {
  const RunEvalLab lab;
  const std::string text = Chinese(0, 1500) + "\n";
  WriteFile(lab / "text.txt", text);
  WriteFile(lab / "calibration.txt", text);
  const ProcessResult same = Measure(lab, kCalibrated);
  CHECK(same.exit_code == 2);
  CHECK(Contains(same.err, "the calibration text is the text that is measured"));
  WriteFile(lab / "calibration.txt", text + ".\n");  // another text
  const ProcessResult copy = Measure(lab, kCalibrated);
  CHECK(copy.exit_code == 2);
  CHECK(Contains(copy.err, "runs of 50 characters"));
  WriteFile(lab / "calibration.txt", Chinese(1500, 1500));
  CheckDone(Measure(lab, kCalibrated));
  CHECK(lab.Record("gptq")["calibration"]["overlap_with_test"] == 0);
}

TEST_CASE("run_eval: only what methods read can contaminate", "[text]") {
  const RunEvalLab lab;
  WriteFile(lab / "calibration.txt", ReadFile(lab / "text.txt", size_t{1} << 20));
  // rtn: for the layer report
  CheckDone(Measure(lab, {"calibration={dataset: ./calibration.txt, samples: 20, length: 32}"}));
  const RecordJson calibration = lab.Record("rtn")["calibration"];
  CHECK(calibration["used_by"] == "layer report");
  CHECK(calibration["samples"] == 16);  // of 20: that report reads no more
  CHECK(calibration["report_tokens"] == 16 * 32);
}

TEST_CASE("run_eval: a record says how much text calibration really read", "[text]") {
  const RunEvalLab lab;
  WriteFile(lab / "calibration.txt", SampleText("validation", 1200));
  const ProcessResult result = Measure(lab, kCalibrated);
  CheckDone(result);
  const RecordJson calibration = lab.Record("gptq")["calibration"];
  const size_t tokens = calibration["text_tokens"], samples = calibration["samples"];
  CHECK(samples == tokens / 64);
  CHECK(samples < 20);
  CHECK(calibration["cut_from_samples"] == 20);
  CHECK(calibration["distinct_tokens"].get<size_t>() <= samples * 64);
  CHECK(calibration["distinct_tokens"].get<size_t>() >= 64);
  CHECK(Contains(result.err, "LESS CALIBRATION THAN ASKED FOR"));
  CHECK(Contains(result.err, "asked for: 20 x 64"));
  CHECK(Contains(result.out, "distinct of "));
}

TEST_CASE("run_eval: a text that the tokenizer cannot spell is stamped", "[text]") {
  const RunEvalLab lab;
  WriteLetterModel(lab, true);
  WriteFile(lab / "text.txt", Letters(1, 300) + Chinese(0, 100) + Letters(2, 300));
  const ProcessResult windows = Measure(lab, {"quantize.methods=[]"}, {"--windows", "2"});
  CheckDone(windows);
  CHECK(lab.Record("fp32")["protocol"]["unknown_share"] == 0);  // what is unknown comes later
  CHECK_FALSE(Contains(windows.out, "UNKNOWN"));
  const ProcessResult whole = Measure(lab, {}, {"--methods", "rtn"});
  CheckDone(whole);
  CHECK(Contains(whole.out, "UNKNOWN TOKENS: 0.2 % of the test text's tokens, "));
  const RecordJson protocol = lab.Record("rtn")["protocol"];
  CHECK(protocol["unknown_bytes_share"].get<double>() > 0.3);
  CHECK(protocol["too_much_unknown"] == true);
}

}  // namespace
}  // namespace quantref
