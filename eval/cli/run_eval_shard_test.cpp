// Shards of a run and what merge_shards makes of them: the records of one process, to the byte.

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "eval/testing/same_records.h"
#include "harness/io/file.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CheckDone;
using testing::Contains;
using testing::Process;
using testing::ProcessResult;
using testing::RecordTexts;
using testing::RunEvalLab;
using testing::Together;
using Strings = std::vector<std::string>;

// A cell that is kept and one that is not, on the tiny model.
constexpr char kCells[] = "quantize={methods: [rtn, gptq], weights: {bits: 4, group: 16}}";
constexpr char kCalibration[] =
    "calibration={dataset: sample, split: validation, samples: 2, length: 64}";

Strings Tiny(const RunEvalLab& lab, const Strings& more = {}) {
  return Together({lab.config(), "--set", kCells, "--set", kCalibration}, more);
}

std::string ShardText(size_t place, size_t count) {
  return std::to_string(place) + "/" + std::to_string(count);
}

fs::path FolderOf(const RunEvalLab& lab, const std::string& config, size_t place, size_t count) {
  return lab.records() /
         (config + ".shard-" + std::to_string(place) + "-of-" + std::to_string(count));
}

void RunShards(const RunEvalLab& lab, size_t count, const Strings& more = {}) {
  for (size_t place = count; place > 0; --place) {
    const Strings which = {"--shard", ShardText(place, count), "--threads",
                           std::to_string(1 + place % 2)};
    CheckDone(lab.Run(Tiny(lab, Together(which, more))));
  }
}

// By the program that people call so.
ProcessResult Merge(const RunEvalLab& lab, Strings arguments = {}) {
  if (arguments.empty()) arguments = {lab.records().string()};
  arguments.insert(arguments.begin(), testing::Program("merge_shards"));
  return testing::RunProcess(arguments, lab.Options());
}

TEST_CASE("shards: merged, any number of them gives the records of one process, to the byte") {
  const RunEvalLab lab;
  CheckDone(lab.Run(Tiny(lab)));
  const auto whole = RecordTexts(lab);
  REQUIRE(whole.size() == 3);
  for (const size_t count : {1u, 5u}) {
    fs::remove_all(lab.records());
    RunShards(lab, count);
    CHECK(RecordTexts(lab).empty());
    const ProcessResult merged = Merge(lab);
    CheckDone(merged);
    CHECK(Contains(merged.err, "tiny gptq: quantized by a shard"));
    CHECK(RecordTexts(lab) == whole);
    CHECK(lab.Record("gptq")["environment"]["hosts"].size() == 1);
    CHECK(lab.RecordFiles().size() == 3 + count);  // no journal, no cell
  }
}

TEST_CASE("shards: a study, a stop rule and --windows give the same as in one process") {
  const RunEvalLab lab;
  const Strings variants[] = {{"--set", "quantize.weights.bits=[3, 4]"},
                              {"--set", "accuracy.stop={delta_nll_halfwidth: 10, min_windows: 8}"},
                              {"--windows", "5", "--methods", "rtn"}};
  for (const Strings& variant : variants) {
    fs::remove_all(lab.records());
    CheckDone(lab.Run(Tiny(lab, variant)));
    const auto whole = RecordTexts(lab);
    fs::remove_all(lab.records());
    RunShards(lab, 2, variant);
    CheckDone(Merge(lab));
    CHECK(RecordTexts(lab) == whole);
  }
}

TEST_CASE("shards: who merges measures throughput, and the gate between the paths") {
  const RunEvalLab lab;
  const Strings timed = {"--set", testing::kQuickThroughput};
  RunShards(lab, 2, timed);
  CheckDone(Merge(lab));
  CHECK(lab.Record("gptq").contains("throughput"));
  CHECK(lab.Record("gptq").contains("simulated_vs_kernel"));
}

TEST_CASE("shards: merging names the shard that lacks, and what does not belong") {
  const RunEvalLab lab;
  RunShards(lab, 3);
  const fs::path second = FolderOf(lab, "tiny", 2, 3);
  fs::rename(second, lab / "away");
  ProcessResult merged = Merge(lab);
  CHECK(merged.exit_code == 2);
  CHECK(Contains(merged.err, "shard 2 of 3 is missing"));
  // As if it came from another machine; one that stands here twice is told.
  fs::create_directory(lab / "other");
  fs::copy(lab / "away", lab / "other/tiny.shard-2-of-3");
  fs::rename(lab / "away", second);
  merged = Merge(lab, {lab.records().string(), (lab / "other").string()});
  CHECK(merged.exit_code == 2);
  CHECK(Contains(merged.err, "shard 2 of 3"));
  CHECK(Contains(merged.err, "stands in"));
  fs::remove_all(second);
  CheckDone(lab.Run(Tiny(lab, {"--shard", "2/3", "--set", "accuracy.order=text"})));
  merged = Merge(lab);
  CHECK(merged.exit_code == 2);
  CHECK(Contains(merged.err, "it is of other --set"));
  fs::remove_all(second);
  CheckDone(Merge(lab, {lab.records().string(), (lab / "other").string()}));
  CHECK(RecordTexts(lab).size() == 3);
}

TEST_CASE("shards: who merges must get the same scores, and all windows") {
  const RunEvalLab lab;
  RunShards(lab, 2);
  const std::string text = ReadFile(lab / "text.txt", size_t{1} << 20);
  testing::WriteFile(lab / "text.txt", text + "More.\n");
  ProcessResult merged = Merge(lab);
  CHECK(merged.exit_code == 2);
  CHECK(Contains(merged.err, "this process would not get the scores of shard 1 of 2"));
  CHECK(Contains(merged.err, "the text: expected "));
  testing::WriteFile(lab / "text.txt", text);
  for (const auto& entry : fs::directory_iterator(FolderOf(lab, "tiny", 2, 2))) {
    if (entry.path().filename().string().starts_with(".journal-"))
      fs::resize_file(entry.path(), fs::file_size(entry.path()) - 1);
  }
  merged = Merge(lab);
  CHECK(merged.exit_code == 2);
  CHECK(Contains(merged.err, "shard 2 of 2"));
  CHECK(Contains(merged.err, "lacks 1 of its"));
  CHECK(RecordTexts(lab).empty());
}

TEST_CASE("shards: of a candidate that has changed it is said which of its hashes differ") {
  const RunEvalLab lab;
  const testing::TinyModel shape{.vocab = testing::kFewPieces, .context = 64};
  testing::WriteTinyModel(lab / "it", shape);
  testing::WriteFewPieces(lab / "it");
  RunShards(lab, 2, {"--candidate", "label=it"});
  testing::FileTensors tensors = testing::TinyTensors(shape);
  char& byte = tensors.at("model.norm.weight").bytes[0];
  byte = static_cast<char>(byte ^ 1);
  testing::WriteTensors(lab / "it", tensors);
  const ProcessResult merged = Merge(lab);
  CHECK(merged.exit_code == 2);
  CHECK(Contains(merged.err, "the files of candidate tiny label (it): expected "));
}

TEST_CASE("shards: killed and resumed, one loses no finished window") {
  const RunEvalLab lab;
  const Strings smoke = testing::SmokeArguments(16);
  CheckDone(lab.Run(smoke));
  const auto whole = RecordTexts(lab);
  fs::remove_all(lab.records());
  const auto shard = [&](const char* which, const Strings& more = {}) {
    return testing::SmokeArguments(16, Together({"--shard", which}, more));
  };
  Process process(lab.Command(shard("1/2")), lab.Options());
  REQUIRE(testing::WaitForWindows(FolderOf(lab, "smoke", 1, 2)));
  process.Signal(SIGKILL);
  process.Wait();
  CheckDone(lab.Run(shard("1/2", {"--resume"})));
  CheckDone(lab.Run(shard("2/2")));
  CheckDone(Merge(lab));
  CHECK(RecordTexts(lab) == whole);
}

TEST_CASE("shards: what cannot be shared out is refused") {
  const RunEvalLab lab;
  const ProcessResult wrong = lab.Run(Tiny(lab, {"--shard", "4/3"}));
  CHECK(wrong.exit_code == 2);
  CHECK(Contains(wrong.err, "--shard: expected I/N"));
  const ProcessResult synthetic =
      lab.Run({(testing::SourceDir() / "configs/speed_tinyllama.yaml").string(), "--shard", "1/2"});
  CHECK(synthetic.exit_code == 2);
  CHECK(Contains(synthetic.err, "no windows that could be shared"));
  CHECK(lab.Run({"--merge"}).exit_code == 2);
}

}  // namespace
}  // namespace quantref
