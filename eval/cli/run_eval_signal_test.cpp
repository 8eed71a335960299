// Signals at moments of a run that take long: it ends after little more work. Work is what counts,
// not time, of which a busy machine takes any amount.

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstddef>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

using testing::Contains;
using testing::Process;
using testing::ProcessResult;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

// Of a core. Two seconds of a free machine are promised; on a busy one the same takes more work.
constexpr double kMostWork = 2.0, kMostWorkWithRecords = 3.0;

// A moment: so much work after the run has said something (nothing: after its start). `records`:
// at least so many are left of it, marked partial.
struct Moment {
  std::string name;
  Strings arguments;
  std::string said;
  double work = 0.3;
  size_t records = 0;
};

size_t PartialRecords(const RunEvalLab& lab) {
  const Strings names = lab.RecordFiles();
  return static_cast<size_t>(std::ranges::count_if(
      names, [](const std::string& name) { return name.ends_with(".partial.json"); }));
}

void CheckEndsSoon(const RunEvalLab& lab, const Moment& moment, int signal) {
  Process process(lab.Command(moment.arguments), lab.Options());
  if (!moment.said.empty()) REQUIRE(process.WaitForError(moment.said));
  process.WaitForWork(process.Work().value_or(0) + moment.work);
  const double before = process.Work().value_or(0);
  process.Signal(signal);
  const ProcessResult result = process.Wait();
  INFO(moment.name << ": " << result.err);
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "stopped by a signal"));
  CHECK(before > 0);
  CHECK(result.work - before < (moment.records > 0 ? kMostWorkWithRecords : kMostWork));
  if (moment.records == 0) return;
  CHECK(PartialRecords(lab) >= moment.records);
  CHECK(Contains(result.out, "INTERRUPTED after "));
}

std::string CalibratedOn(size_t samples) {
  return "calibration={dataset: sample, split: validation, samples: " + std::to_string(samples) +
         ", length: 256}";
}

TEST_CASE("run_eval: SIGINT and SIGTERM end it after little more work, whatever it is at") {
  const RunEvalLab lab;
  constexpr size_t kLongWindow = 12000;
  testing::WriteTinyModel(
      lab / "long", {.layers = 24, .vocab = testing::kTokenizerPieces, .context = kLongWindow});
  testing::CopyTokenizer(lab / "long");
  const std::string same = (testing::SourceDir() / "harness/reference/wikilm-28m").string();
  const std::vector<Moment> moments = {
      {"loading", testing::SmokeArguments(2, {"--set", "model=wikilm-28m"}), "", 0.1},
      // Each number of bits is priced by rates of its own, which takes several times this.
      {"pricing",
       testing::SmokeArguments(
           2, {"--dry-run", "--set", "model=wikilm-28m", "--set", "quantize.methods=[gptq, awq]",
               "--set", "quantize.weights.bits=[2, 3, 4, 5, 6, 8]", "--set", CalibratedOn(4)}),
       "", 0.5},
      {"GPTQ",
       testing::SmokeArguments(2, {"--set", "quantize.methods=[gptq]", "--set", CalibratedOn(128)}),
       "expected"},
      {"AWQ's search",
       testing::SmokeArguments(
           2, {"--set", "quantize={methods: [awq], awq: {grid: 1000, clip_grid: 1000}}", "--set",
               CalibratedOn(4)}),
       "expected"},
      {"a long window",
       {lab.config(), "--threads", "1", "--set", "model=./long", "--set",
        "accuracy={dataset: sample, split: test, protocol: gptq-" + std::to_string(kLongWindow) +
            "}"},
       "expected"},
      {"training",
       testing::SmokeArguments(
           2, {"--set", "quantize.methods=[rtn+qat]", "--set",
               "finetune={dataset: sample, split: validation, steps: 500, batch: 4, length: 256}"}),
       "expected"},
      // Several cells, one after another.
      {"exporting",
       testing::SmokeArguments(
           2, {"--set", "model=wikilm-28m", "--set", "quantize.weights.bits=[3, 4, 5, 6, 8]",
               "--export", "out", "--export-format", "dequantized-fp32"}),
       " as dequantized-fp32", 0.02},
      {"loading candidates",
       testing::SmokeArguments(
           2, {"--set", "model=wikilm-28m", "--methods", "fp16", "--candidate", "a=" + same,
               "--candidate", "b=" + same, "--candidate", "c=" + same}),
       "expected", 0.1},
      // Seven models, which are at it for many times the work that there may be left.
      {"scoring",
       testing::SmokeArguments(96, {"--set", "accuracy.protocol=llamacpp-64", "--set",
                                    "quantize.weights.bits=[2, 3, 4, 5, 6, 8]"}),
       "after 8 of 96 windows", 0, 7},
      {"throughput",
       testing::SmokeArguments(2, {"--set", "throughput={standard_shapes: true, repetitions: 50}"}),
       "throughput comes next"},
  };
  int signal = SIGINT;
  for (const Moment& moment : moments) {
    CheckEndsSoon(lab, moment, signal);
    signal = signal == SIGINT ? SIGTERM : SIGINT;
  }
}

}  // namespace
}  // namespace quantref
