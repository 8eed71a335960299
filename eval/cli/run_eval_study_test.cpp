// Studies end to end: what of a grid is measured, with what, and what is not measured again.

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "eval/inputs/finished.h"
#include "eval/testing/run_eval_lab.h"
#include "harness/io/file.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CheckDone;
using testing::Contains;
using testing::Process;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

constexpr char kRest[] =
    "accuracy: {dataset: ./text.txt}\n"
    "throughput: none\n";

// Four points of one method, measured in well under a second.
std::string StudyText() {
  return std::string(
             "name: s\n"
             "model: ./model\n"
             "quantize: {methods: [rtn], weights: {bits: [3, 4], group: [16, row]}}\n") +
         kRest;
}

// With fewer windows than others: all cells of a study are compared with each other.
class StudyLab : public RunEvalLab {
 public:
  explicit StudyLab(const std::string& text = StudyText()) {
    testing::WriteFile(path() / "s.yaml", text);
    const std::string sample = testing::FileText(path() / "text.txt");
    testing::WriteFile(path() / "text.txt", sample.substr(0, sample.find('\n', 800) + 1));
  }

  ProcessResult Study(Strings arguments = {}) const {
    arguments.insert(arguments.begin(), "s.yaml");
    return Run(arguments);
  }

  // By "<config> <method>", or "<config> <method> seed=<n>"; the numbers of records say how often
  // each was measured.
  std::multimap<std::string, RecordJson> Records() const {
    std::multimap<std::string, RecordJson> found;
    for (const std::string& name : RecordFiles()) {
      if (name.starts_with('.')) continue;
      RecordJson record = RecordJson::parse(ReadFile(records() / name, size_t{1} << 24));
      std::string key =
          record["config"]["name"].get<std::string>() + " " + record["method"].get<std::string>();
      if (record.contains("calibration"))
        key += " seed=" + std::to_string(record["calibration"]["seed"].get<size_t>());
      found.emplace(key, std::move(record));
    }
    return found;
  }
};

bool SameMeasurement(const RecordJson& a, const RecordJson& b) {
  return a["accuracy"]["window_nll"] == b["accuracy"]["window_nll"] && a["hashes"] == b["hashes"];
}

TEST_CASE("run_eval: a study's points are measured together, as hand-written configs would be") {
  const StudyLab lab;
  CheckDone(lab.Study());
  const auto records = lab.Records();
  CHECK(records.size() == 8);
  const RecordJson& point = records.find("s-int3-row rtn")->second;
  CHECK(point["accuracy"]["against"].size() == 3);
  CHECK(point["scheme"]["name"] == "int3 row asym");

  const StudyLab own(std::string("name: s-int3-row\n"
                                 "model: ./model\n"
                                 "quantize: {methods: [rtn], weights: {bits: 3, group: row}}\n") +
                     kRest);
  CheckDone(own.Study());
  const RecordJson alone = own.Record("rtn");
  CHECK(point["config"] == alone["config"]);
  CHECK(SameMeasurement(point, alone));
}

TEST_CASE("run_eval: a study's finished cells are measured again only where that is asked for") {
  const StudyLab lab;
  CheckDone(lab.Study());
  const ProcessResult again = lab.Study({"--any-commit"});
  CheckDone(again);
  CHECK(Contains(again.err, "8 of 8 cells are finished"));
  CHECK(Contains(again.err, "--rerun"));
  CHECK(again.out == "");
  CHECK(lab.Records().size() == 8);
  const ProcessResult json = lab.Study({"--any-commit", "--json"});
  CHECK(RecordJson::parse(json.out).empty());
  CheckDone(lab.Study({"--rerun"}));
  CHECK(lab.Records().size() == 16);
}

TEST_CASE("run_eval: only records of the same program are finished, unless the user says so") {
  const StudyLab lab;
  const Strings arguments = {"--set", "quantize.weights={bits: [4], group: 16}"};
  CheckDone(lab.Study(arguments));
  const ProcessResult again = lab.Study(arguments);
  CheckDone(again);
  CHECK(Contains(again.err, "2 of 2 cells are finished"));
  CHECK(lab.Records().size() == 2);
  for (const std::string& name : lab.RecordFiles()) {
    RecordJson record = RecordJson::parse(ReadFile(lab.records() / name, size_t{1} << 24));
    record["tool"]["program_sha256"] = std::string(64, '0');
    record["tool"]["git_commit"] = std::string(40, '0');
    testing::WriteFile(lab.records() / name, record.dump());
  }
  const ProcessResult other = lab.Study(arguments);
  CheckDone(other);
  CHECK(Contains(other.err, "2 of 2 cells have a record that does not count: "));
  CHECK(lab.Records().size() == 4);
}

TEST_CASE("study: which commits tell that two programs are one") {
  const Program own = {"0123456789abcdef", false};
  CHECK(WhyOtherProgram(own, own) == "");
  CHECK(Contains(WhyOtherProgram({"fedcba9876543210", false}, own), "commit fedcba987654"));
  CHECK(Contains(WhyOtherProgram({own.commit, true}, own), "a record of a changed tree"));
  CHECK(Contains(WhyOtherProgram(own, {own.commit, true}), "this program is of a changed tree"));
  CHECK(WhyOtherProgram({"unknown", false}, {"unknown", false}) != "");
  CHECK(WhyOtherProgram({own.commit, true, "ab"}, {own.commit, true, "ab"}) == "");
  CHECK(WhyOtherProgram({own.commit, true, "ab"}, {own.commit, true, "cd"}) != "");
}

TEST_CASE("run_eval: a study measures anew what its records are not of") {
  const StudyLab lab;
  CheckDone(lab.Study());
  const Strings first = lab.RecordFiles();
  REQUIRE(first.size() == 8);
  // Runs it beside the first records alone.
  const auto again = [&](Strings arguments, const std::string& reason, size_t measured) {
    INFO(reason);
    arguments.emplace_back("--any-commit");
    const ProcessResult result = lab.Study(arguments);
    CheckDone(result);
    CHECK(Contains(result.err, reason));
    const Strings files = lab.RecordFiles();
    CHECK(files.size() == first.size() + measured);
    for (const std::string& name : files) {
      if (std::find(first.begin(), first.end(), name) == first.end())
        fs::remove(lab.records() / name);
    }
  };
  again({"--windows", "4"},
        "8 of 8 cells have a record that does not count: a record of other windows", 8);
  again({"--set", "accuracy.metrics=[ppl]"}, "a record of another config", 8);
  again({"--set", "quantize.methods=[rtn, {method: rtn, label: other}]"},
        "8 of 12 cells are finished", 4);

  // A record that failed the gate, and one that is no record any more.
  for (const std::string& name : first) {
    RecordJson record = RecordJson::parse(ReadFile(lab.records() / name, size_t{1} << 24));
    if (name.starts_with("s-int3-row-rtn")) record["simulated_vs_kernel"]["failed"] = true;
    testing::WriteFile(lab.records() / name,
                       name.starts_with("s-int4-row-rtn") ? "{" : record.dump());
  }
  again({}, "1 of 8 cells have a record that does not count: its record failed the gate", 2);

  testing::WriteFile(lab / "text.txt", ReadFile(lab / "text.txt", 10000) + "One line more.\n");
  again({}, "a record of another dataset.sha256", 8);
  RecordJson config = RecordJson::parse(ReadFile(lab / "model/config.json", 10000));
  config["rms_norm_eps"] = 1e-3;
  testing::WriteFile(lab / "model/config.json", config.dump());
  again({}, "a record of another model.config_sha256", 8);
  testing::WriteTinyModel(lab / "model", {.vocab = testing::kFewPieces, .context = 64, .seed = 1});
  again({}, "a record of another model.sha256", 8);
}

TEST_CASE("run_eval: the seeds of a study's method are finished all or none") {
  const StudyLab lab(std::string("name: s\n"
                                 "model: ./model\n"
                                 "quantize: {methods: [gptq], weights: {bits: [3], group: 16}}\n"
                                 "calibration: {dataset: sample, split: validation, samples: 2, "
                                 "length: 32, seeds: [0, 1], allow_overlap: true}\n") +
                     kRest);
  CheckDone(lab.Study());
  REQUIRE(lab.Records().size() == 3);
  for (const std::string& name : lab.RecordFiles()) {
    const std::string text = ReadFile(lab.records() / name, size_t{1} << 24);
    const RecordJson record = RecordJson::parse(text);
    if (record.contains("calibration") && record["calibration"]["seed"] == 1)
      fs::remove(lab.records() / name);
  }
  CheckDone(lab.Study({"--any-commit"}));
  const auto records = lab.Records();
  CHECK(records.count("s-int3 fp32") == 1);
  CHECK(records.count("s-int3 gptq seed=0") == 2);
  CHECK(records.count("s-int3 gptq seed=1") == 1);
}

TEST_CASE("run_eval: where memory does not hold a study, it goes in passes, to the same bits") {
  const StudyLab together, apart;
  CheckDone(together.Study());
  CheckDone(apart.Study({"--memory", "0.000001"}));
  const auto whole = together.Records(), parts = apart.Records();
  REQUIRE(parts.size() == 8);
  for (const auto& [name, record] : parts) {
    INFO(name);
    CHECK(SameMeasurement(record, whole.find(name)->second));
    CHECK_FALSE(record["accuracy"].contains("against"));
  }
}

TEST_CASE("run_eval: --dry-run lists a study's grid, its order and its price") {
  const StudyLab lab;
  const ProcessResult fresh = lab.Study({"--dry-run"});
  CheckDone(fresh);
  for (const char* part : {"s-int3-g16", "s-int3-row", "s-int4-g16", "s-int4-row", "fp32", "rtn",
                           "14 of 16", "measure", "expected: about", "memory", "journal on disk"}) {
    INFO(part);
    CHECK(Contains(fresh.out, part));
  }
  CHECK_FALSE(Contains(fresh.out, "pass 1"));
  CHECK_FALSE(fs::exists(lab / "results"));

  CheckDone(lab.Study({"--set", "quantize.weights.bits=[3]"}));
  const ProcessResult half = lab.Study({"--dry-run", "--any-commit", "--memory", "0.000001",
                                        "--set", "accuracy.protocol=[gptq-2048]"});
  CheckDone(half);
  CHECK(Contains(half.out, "pass 4"));  // other names, so that nothing is finished
  const ProcessResult rest = lab.Study({"--dry-run", "--any-commit", "--memory", "0.000001"});
  CheckDone(rest);
  for (const char* part : {"finished", "4 of 8 cells are finished", "pass 1", "pass 2"}) {
    INFO(part);
    CHECK(Contains(rest.out, part));
  }
  CHECK_FALSE(Contains(rest.out, "pass 3"));
  CHECK(rest.out.find("s-int3-row") < rest.out.find("s-int4-g16"));
  CHECK(lab.Records().size() == 4);

  CheckDone(lab.Study());
  const ProcessResult done = lab.Study({"--dry-run", "--any-commit"});
  CheckDone(done);
  CHECK(Contains(done.out, "nothing to measure"));
}

TEST_CASE("run_eval: --dry-run adds up the groups of a study") {
  const StudyLab lab;
  const ProcessResult result =
      lab.Study({"--dry-run", "--set", "accuracy.protocol=[gptq-2048, full-stride]"});
  CheckDone(result);
  CHECK(Contains(result.out, "all 2 groups: about"));
}

TEST_CASE("run_eval: a point that cannot be is refused by name before anything is measured") {
  const StudyLab lab;
  fs::copy(lab / "model", lab / "shallow", fs::copy_options::recursive);
  RecordJson config = RecordJson::parse(testing::FileText(lab / "model/config.json"));
  config["num_hidden_layers"] = 1;
  testing::WriteFile(lab / "shallow/config.json", config.dump());
  const ProcessResult result =
      lab.Study({"--set", "model=[./model, ./shallow]", "--set", "quantize.keep=[layers.1.mlp.*]"});
  INFO(result.err);
  CHECK(result.exit_code == 2);
  for (const char* part :
       {"'layers.1.mlp.*' matches no weight", "for rtn of s-shallow-int3-g16", "exclude"}) {
    INFO(part);
    CHECK(Contains(result.err, part));
  }
  CHECK(lab.RecordFiles().empty());
}

TEST_CASE("run_eval: what cannot be measured of a study does not keep the rest from it") {
  const StudyLab lab;
  fs::copy(lab / "model", lab / "broken", fs::copy_options::recursive);
  fs::resize_file(lab / "broken/model.safetensors", 1000);
  const ProcessResult result = lab.Study({"--set", "model=[./broken, ./model]"});
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "s-broken-int3-g16 to s-broken-int4-row cannot be measured"));
  CHECK(Contains(result.err, "model.safetensors"));
  CHECK(Contains(result.err, "8 cells could not be measured"));
  const auto records = lab.Records();
  CHECK(records.size() == 8);
  CHECK(records.count("s-model-int4-row rtn") == 1);

  fs::remove_all(lab / "model");
  const ProcessResult none =
      lab.Study({"--set", "model=[./broken]", "--set", "quantize.keep=[layers.9.*]"});
  CHECK(none.exit_code == 2);
  CHECK(Contains(none.err, "model.safetensors"));  // and not that there is no such layer
  CHECK_FALSE(Contains(none.err, "layers.9"));

  const StudyLab methods(
      std::string("name: s\n"
                  "model: ./model\n"
                  "quantize: {methods: [gptq], weights: {bits: [3], group: 16}}\n"
                  "calibration: {dataset: ./text.txt, length: [16, 60000]}\n") +
      kRest);  // samples of the text that is measured: contaminated
  const ProcessResult contaminated = methods.Study();
  INFO(contaminated.err);
  CHECK(contaminated.exit_code == 2);
  CHECK(Contains(contaminated.err, "s-len16-int3 gptq cannot be measured"));
  CHECK(methods.Records().size() == 2);  // the references
}

TEST_CASE("run_eval: an interrupted study goes on with what is missing") {
  const RunEvalLab lab;
  Strings arguments = {(testing::SourceDir() / "configs/studies/smoke_study.yaml").string(),
                       "--windows",
                       "12",
                       "--threads",
                       "1",
                       "--memory",
                       "0.000001"};
  Process process(lab.Command(arguments), lab.Options());
  REQUIRE(process.WaitForError("record: "));  // those of the first pass
  process.Signal(SIGINT);
  const ProcessResult stopped = process.Wait();
  INFO(stopped.err);
  CHECK(stopped.exit_code == 2);
  CHECK(Contains(stopped.err, "stopped by a signal"));
  arguments.insert(arguments.end(), {"--resume", "--any-commit"});
  const ProcessResult resumed = lab.Run(arguments);
  INFO(resumed.err);
  CHECK(resumed.exit_code == 0);
  CHECK(Contains(resumed.err, "of 6 cells are finished"));
  std::map<std::string, size_t> times;
  for (const std::string& name : lab.RecordFiles()) ++times[name.substr(0, name.rfind("-202"))];
  CHECK(times.size() == 6);
  for (const auto& [name, count] : times) {
    INFO(name);
    CHECK(count == 1);
  }
}

}  // namespace
}  // namespace quantref
