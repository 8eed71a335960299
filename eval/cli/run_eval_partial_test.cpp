// Ctrl-C and SIGTERM while windows are measured: records and a table of what there is, which nobody
// can take for those of a complete run, and which --resume replaces.

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::Process;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

constexpr size_t kAll = 14;

Strings SmokeRun(const Strings& more = {}) { return testing::SmokeArguments(kAll, more); }

// The records of one that nothing interrupted, made once.
const RunEvalLab& WholeRun() {
  static const RunEvalLab lab;
  static const int code = lab.Run(SmokeRun()).exit_code;
  REQUIRE(code == 0);
  return lab;
}

// Sends the signal as soon as it says so.
ProcessResult InterruptAt(const RunEvalLab& lab, const Strings& arguments, const std::string& said,
                          int signal) {
  Process process(lab.Command(arguments), lab.Options());
  REQUIRE(process.WaitForError(said));
  process.Signal(signal);
  return process.Wait();
}

size_t CountEnding(const RunEvalLab& lab, std::string_view end) {
  const Strings names = lab.RecordFiles();
  return static_cast<size_t>(
      std::ranges::count_if(names, [&](const std::string& name) { return name.ends_with(end); }));
}

// Every window that there is has the bits that it has in the whole run.
void CheckPartOf(const RecordJson& whole, const RecordJson& part) {
  const RecordJson& protocol = part["protocol"];
  CHECK(protocol["interrupted"] == true);
  const auto index = protocol["window_index"].get<std::vector<size_t>>();
  CHECK(index.size() >= 8);
  CHECK(index.size() < kAll);
  CHECK(protocol["windows"] == index.size());
  for (size_t i = 0; i < index.size(); ++i) {
    CHECK(part["accuracy"]["window_nll"][i] == whole["accuracy"]["window_nll"][index[i]]);
    CHECK(protocol["window_scored"][i] == whole["protocol"]["window_scored"][index[i]]);
  }
}

void CheckSame(const RunEvalLab& whole, const RunEvalLab& lab) {
  for (const char* method : {"fp16", "rtn"}) {
    for (const char* part : {"accuracy", "hashes", "protocol"})
      CHECK(lab.Record(method)[part] == whole.Record(method)[part]);
  }
}

TEST_CASE("run_eval: what takes no calibration is looked at before what does is begun") {
  const Strings methods = {"--set", "quantize.methods=[gptq, rtn]",
                           "--set", "calibration={dataset: sample, samples: 1, length: 64}",
                           "--set", "accuracy.protocol=llamacpp-64"};
  const RunEvalLab lab, few;
  const ProcessResult all = lab.Run(testing::SmokeArguments(32, methods));
  INFO(all.err);
  REQUIRE(all.exit_code == 0);
  const size_t look = all.err.find("after 8 of 32 windows"), calibrated = all.err.find("gptq");
  REQUIRE(look != std::string::npos);
  CHECK(all.err.find("quantizing smoke rtn") < look);
  CHECK(all.err.find("PPL", look) < calibrated);
  CHECK(all.err.find("\nrtn ", look) < calibrated);
  CHECK(all.err.find("the other cells follow", look) < all.err.find("quantizing smoke gptq", look));
  // Where a look would take a large part of the run there is none, and it changes no bit.
  const ProcessResult of_few = few.Run(testing::SmokeArguments(31, methods));
  CHECK(of_few.exit_code == 0);
  CHECK_FALSE(Contains(of_few.err, "the other cells follow"));
  CHECK(few.Record("rtn")["accuracy"]["window_nll"][9] ==
        lab.Record("rtn")["accuracy"]["window_nll"][9]);
}

// The cell that takes long tries so many ratios: minutes, or a moment.
Strings BehindAFirstLook(const char* ratios, const Strings& more = {}) {
  return testing::SmokeArguments(
      32, testing::Together(
              {"--set",
               std::string("quantize.methods=[{method: awq, label: awq, awq: {grid: ") + ratios +
                   "}}, rtn]",
               "--set", "calibration={dataset: sample, split: validation, samples: 4, length: 256}",
               "--set", "accuracy.protocol=llamacpp-64"},
              more));
}

TEST_CASE("run_eval: Ctrl-C behind a first look leaves records of it, which --resume replaces") {
  const RunEvalLab lab;
  const ProcessResult stopped =
      InterruptAt(lab, BehindAFirstLook("1000"), "the other cells follow", SIGINT);
  INFO(stopped.err);
  CHECK(stopped.exit_code == 2);
  CHECK(Contains(stopped.err, "the first look is kept as records"));
  CHECK(Contains(stopped.out, "INTERRUPTED after 8 of "));
  CHECK(Contains(stopped.out, "\nrtn "));
  CHECK_FALSE(Contains(stopped.out, "\nawq "));
  CHECK(CountEnding(lab, ".partial.json") == 2);
  const std::vector<RecordJson> looked_at = {lab.Record("fp16"), lab.Record("rtn")};
  const ProcessResult resumed = lab.Run(BehindAFirstLook("2", {"--resume"}));
  INFO(resumed.err);
  REQUIRE(resumed.exit_code == 0);
  CHECK(CountEnding(lab, ".partial.json") == 0);
  CHECK(CountEnding(lab, ".json") == 3);
  for (const RecordJson& part : looked_at)
    CheckPartOf(lab.Record(part["method"].get<std::string>()), part);
}

TEST_CASE("run_eval: Ctrl-C gives records and a table of what there is, --resume the whole") {
  const RunEvalLab& whole = WholeRun();
  for (const int signal : {SIGINT, SIGTERM}) {
    const RunEvalLab lab;
    const ProcessResult stopped = InterruptAt(lab, SmokeRun(), "after 8 of 14 windows", signal);
    INFO(stopped.err);
    INFO(stopped.out);
    CHECK(stopped.exit_code == 2);
    CHECK(Contains(stopped.err, "run_eval: interrupt: stopped by a signal"));
    CHECK(Contains(stopped.err, "finished windows are kept: go on with --resume"));
    CHECK(Contains(stopped.out, "INTERRUPTED after "));
    CHECK_FALSE(Contains(stopped.out, "the first"));
    CHECK(Contains(stopped.out, "rtn"));
    CHECK(CountEnding(lab, ".partial.json") == 2);
    CHECK(lab.RecordFiles().size() == 3);
    const std::string journal = lab.Record("rtn")["protocol"]["journal"];
    CHECK(fs::exists(lab.records() / (".journal-" + journal + ".tmp")));
    for (const char* method : {"fp16", "rtn"})
      CheckPartOf(whole.Record(method), lab.Record(method));

    const ProcessResult resumed = lab.Run(SmokeRun({"--resume"}));
    INFO(resumed.err);
    REQUIRE(resumed.exit_code == 0);
    CHECK_FALSE(Contains(resumed.out, "INTERRUPTED"));
    CHECK(lab.RecordFiles().size() == 2);  // neither the journal nor what it replaces
    CHECK(CountEnding(lab, ".partial.json") == 0);
    CHECK(lab.Record("rtn")["seconds"]["resumed_windows"].get<int>() >= 8);
    CheckSame(whole, lab);
  }
}

TEST_CASE("run_eval: interrupted records are no baseline and are compared with nothing") {
  const RunEvalLab& whole = WholeRun();
  const RunEvalLab lab;
  REQUIRE(InterruptAt(lab, SmokeRun(), "after 8 of 14 windows", SIGINT).exit_code == 2);
  const auto compare = [&](const Strings& arguments) {
    Strings command = {testing::Program("compare_results")};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return testing::RunProcess(command);
  };
  const std::string complete = whole.records().string(), part = lab.records().string();
  const std::string baseline = (lab / "baseline.json").string();
  const ProcessResult written = compare({part, "--write-baseline", baseline});
  CHECK(written.exit_code == 2);
  CHECK(Contains(written.err, "one of an interrupted run"));
  CHECK_FALSE(fs::exists(baseline));
  for (const auto& [a, b] : {std::pair(complete, part), std::pair(part, complete), {part, part}}) {
    const ProcessResult compared = compare({a, b});
    INFO(compared.out);
    CHECK(Contains(compared.out, "not comparable"));
    CHECK(Contains(compared.out, "was interrupted"));
    CHECK(compare({a, b, "--gate"}).exit_code != 0);
  }
  // One that is complete stands for its cell, however old it is.
  for (const auto& entry : fs::directory_iterator(whole.records()))
    fs::copy_file(entry.path(), lab.records() / entry.path().filename());
  CHECK_FALSE(Contains(compare({complete, part}).out, "not comparable"));
  CHECK(compare({part, "--write-baseline", baseline}).exit_code == 0);
}

// Windows of several cells, of which the first is long done before the eighth is.
TEST_CASE("run_eval: of fewer windows than an interval needs it makes no records, and says so") {
  const RunEvalLab lab;
  const char* const cells =
      "quantize.methods=[rtn, {method: rtn, label: b}, {method: rtn, label: c}, "
      "{method: rtn, label: d}, {method: rtn, label: e}]";
  Process process(lab.Command(SmokeRun({"--set", cells})), lab.Options());
  REQUIRE(lab.WaitForWindows());
  process.Signal(SIGTERM);
  const ProcessResult stopped = process.Wait();
  INFO(stopped.err);
  CHECK(stopped.exit_code == 2);
  CHECK(Contains(stopped.err, "no records are made of fewer than 8, which give no interval"));
  CHECK(CountEnding(lab, ".json") == 0);
}

TEST_CASE("run_eval: interrupted once more, and before the throughput, its records are replaced") {
  const RunEvalLab lab;
  REQUIRE(InterruptAt(lab, SmokeRun(), "after 8 of 14 windows", SIGINT).exit_code == 2);
  Strings timed = SmokeRun({"--resume"});
  const auto none = std::ranges::find(timed, "throughput=none");
  *none = "throughput={standard_shapes: true, repetitions: 20}";
  const ProcessResult stopped = InterruptAt(lab, timed, "throughput comes next", SIGINT);
  INFO(stopped.err);
  CHECK(stopped.exit_code == 2);
  CHECK(Contains(stopped.err, "PPL"));  // the accuracies stood there before
  CHECK(Contains(stopped.out, "INTERRUPTED"));
  CHECK(CountEnding(lab, ".partial.json") == 2);
  const RecordJson record = lab.Record("rtn");
  CHECK(record["protocol"]["windows"] == kAll);
  CHECK_FALSE(record.contains("throughput"));
  CHECK(record.contains("simulated_vs_kernel"));
  REQUIRE(lab.Run(SmokeRun({"--resume"})).exit_code == 0);
  CHECK(lab.RecordFiles().size() == 2);
}

}  // namespace
}  // namespace quantref
