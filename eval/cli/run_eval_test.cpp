// The program run_eval end to end: what it prints, when it ends how, and what it leaves behind.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eval/support/text_table.h"
#include "eval/testing/run_eval_lab.h"
#include "harness/io/file.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CheckDone;
using testing::Contains;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using Strings = std::vector<std::string>;

std::string Smoke() { return (testing::SourceDir() / "configs/smoke.yaml").string(); }

TEST_CASE("run_eval: the smoke config measures wikilm-2m as the goldens say") {
  const RunEvalLab lab;
  const ProcessResult result = lab.Run({Smoke(), "--windows", "2"});
  CheckDone(result);
  for (const char* part : {"wikilm-2m", "sample test", "llamacpp-512", "2 windows", "fp16", "rtn",
                           "int4 g32", "PARTIAL", "PPL"}) {
    INFO(part);
    CHECK(Contains(result.out, part));
  }
  CHECK(lab.RecordFiles().size() == 2);
  CHECK(Contains(result.err, "record: "));
  const RecordJson fp16 = lab.Record("fp16"), rtn = lab.Record("rtn");
  const nlohmann::json goldens =
      ReadJsonFile(testing::SourceDir() / "eval/testdata/sample_goldens.json");
  const nlohmann::json& golden = goldens["cases"][1];
  REQUIRE(golden["protocol"] == "llamacpp-512");
  CHECK(fp16["protocol"]["token_sha256"] == golden["token_sha256"]);
  for (size_t w = 0; w < 2; ++w) {
    const double mean = fp16["accuracy"]["window_nll"][w].get<double>() / 255;
    CHECK(std::abs(mean - golden["window_mean_nll"][w].get<double>()) < 2e-6);
  }
  CHECK(rtn["accuracy"]["reference_window_nll"] == fp16["accuracy"]["window_nll"]);
  CHECK(rtn["accuracy"]["ppl"].get<double>() > fp16["accuracy"]["ppl"].get<double>());
  CHECK(rtn["protocol"]["cut_from_windows"] == 30);
  CHECK_FALSE(rtn["dataset"].contains("substituted_sample"));
}

TEST_CASE("run_eval: records are added, never overwritten") {
  const RunEvalLab lab;
  CheckDone(lab.Run({lab.config()}));
  const Strings first = lab.RecordFiles();
  REQUIRE(first.size() == 2);
  Strings contents;
  for (const std::string& name : first)
    contents.push_back(ReadFile(lab.records() / name, size_t{1} << 24));
  CheckDone(lab.Run({lab.config()}));
  CHECK(lab.RecordFiles().size() == 4);
  for (size_t i = 0; i < 2; ++i)
    CHECK(ReadFile(lab.records() / first[i], size_t{1} << 24) == contents[i]);
}

TEST_CASE("run_eval: --json prints the records that it writes, and nothing else") {
  const RunEvalLab lab;
  const ProcessResult result = lab.Run({lab.config(), "--json"});
  CheckDone(result);
  const RecordJson printed = RecordJson::parse(result.out);
  CHECK(printed == RecordJson{lab.Record("fp16"), lab.Record("rtn")});
}

TEST_CASE("run_eval: --quiet prints nothing and records all the same") {
  const RunEvalLab lab;
  const ProcessResult result = lab.Run({lab.config(), "--quiet"});
  CheckDone(result);
  CHECK(result.out.empty());
  CHECK(result.err.empty());
  CHECK(lab.RecordFiles().size() == 2);
}

TEST_CASE("run_eval: --dry-run says what would be done and leaves nothing behind") {
  const RunEvalLab lab;
  const ProcessResult result = lab.Run({lab.config(), "--dry-run"});
  CheckDone(result);
  for (const char* part : {"fp32", "rtn", "14 of 16", "windows", "expected", "memory"}) {
    INFO(part);
    CHECK(Contains(result.out, part));
  }
  CHECK_FALSE(fs::exists(lab / "results"));
  CHECK_FALSE(fs::exists(lab / "cache"));
}

TEST_CASE("run_eval: --out puts the records elsewhere") {
  const RunEvalLab lab;
  CheckDone(lab.Run({lab.config(), "--out", "deep/folder"}));
  CHECK(lab.RecordFiles().empty());
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(lab / "deep/folder")) ++files;
  CHECK(files == 2);
}

TEST_CASE("run_eval: --methods measures some cells only, beside the reference") {
  const RunEvalLab lab;
  const std::string methods = "quantize.methods=[rtn, {method: rtn, label: other}]";
  const ProcessResult result = lab.Run({lab.config(), "--set", methods, "--methods", "rtn"});
  CheckDone(result);
  CHECK(Contains(result.out, "\nfp32 "));  // what the others are measured by
  CHECK_FALSE(Contains(result.out, "\nother "));
  REQUIRE(lab.RecordFiles().size() == 2);
  CHECK(lab.Record("fp32")["accuracy"]["window_nll"] ==
        lab.Record("rtn")["accuracy"]["reference_window_nll"]);
  CheckDone(lab.Run({lab.config(), "--methods", "fp16", "--out", "alone"}));  // whatever its type
  CHECK(std::distance(fs::directory_iterator(lab / "alone"), {}) == 1);
}

// The longest line, in characters.
size_t Longest(const std::string& text) {
  size_t longest = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    longest = std::max(longest, TextWidth(std::string_view(text).substr(at, end - at)));
    at = end + 1;
  }
  return longest;
}

TEST_CASE("run_eval: what is printed fits the lines, and says what there was no room for") {
  const RunEvalLab lab;
  const auto at = [&](const char* width, Strings arguments) {
    arguments.insert(arguments.begin(), {lab.config(), "--layers"});
    const ProcessResult result = lab.Run(arguments, {.environment = {{"COLUMNS", width}}});
    CheckDone(result);
    return result.out;
  };
  const std::string narrow = at("60", {}), chosen = at("60", {"--columns", "time,bits"});
  CHECK(Longest(narrow) <= 60);
  for (const char* part : {"PPL", "change (%)", "left out, for lines of 60: time", "--columns all"})
    CHECK(Contains(narrow, part));
  CHECK(Contains(at("60", {"--columns", "all"}), "same top-1 (%)"));
  CHECK(Contains(chosen, "time  bits/weight\n"));
  CHECK(Longest(at("60", {"--dry-run"})) <= 60);
}

TEST_CASE("run_eval: --columns names columns") {
  const RunEvalLab lab;
  for (const auto& [columns, message] :
       {std::pair{"ppl,tme", "unknown column 'tme' (did you mean 'time'?)"},
        std::pair{"all,ppl", "'all' stands alone"}}) {
    const ProcessResult result = lab.Run({lab.config(), "--columns", columns});
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, message));
  }
}

TEST_CASE("run_eval: nothing says where a model or a text lies") {
  const RunEvalLab lab;
  const std::string model = (lab / "model").string(), text = (lab / "text.txt").string();
  REQUIRE(fs::is_directory(model));
  const ProcessResult result = lab.Run(
      {lab.config(), "--set", "model=" + model, "--set", "accuracy.dataset=" + text, "--layers"});
  CheckDone(result);
  CHECK(Contains(result.out, "model · text.txt · "));
  const RecordJson rtn = lab.Record("rtn");
  CHECK(rtn["model"]["name"] == "model");
  CHECK(rtn["dataset"]["name"] == "text.txt");
  CHECK_FALSE(Contains(rtn.dump(), lab.path().string()));
  CHECK_FALSE(Contains(result.out + result.err, lab.path().string()));
}

TEST_CASE("run_eval: --set overrides the config and is recorded") {
  const RunEvalLab lab;
  CheckDone(lab.Run({lab.config(), "--set", "quantize.weights.bits=7", "--set",
                     "quantize.overrides=[{match: '*.down_proj', keep: true}]"}));
  const RecordJson rtn = lab.Record("rtn");
  CHECK(rtn["config"]["resolved"]["quantize"]["weights"]["bits"] == 7);
  CHECK(rtn["scheme"]["bits"] == 7);
  CHECK(rtn["layers"].size() == 12);  // of 2 blocks, without their down_proj
  CHECK(rtn["layers"][0]["scheme"] == "int7 g16 asym");
}

TEST_CASE("run_eval: --list names what there is") {
  const RunEvalLab lab;
  const auto list = [&](const char* kind) {
    const ProcessResult result = lab.Run({"--list", kind});
    CheckDone(result);
    return result.out;
  };
  CHECK(Contains(list("quantizers"), "rtn"));
  CHECK(Contains(list("quantizers"), "fp16"));
  for (const char* name : {"gptq-N", "llamacpp-N", "full-stride"})
    CHECK(Contains(list("protocols"), name));
  for (const char* name : {"gemma3_text", "Phi-4-mini", "opt"})
    CHECK(Contains(list("families"), name));
  for (const char* name : {"ppl", "kl", "top1", "kept_logits"})
    CHECK(Contains(list("metrics"), name));
  CHECK(Contains(list("models"), "wikilm-28m"));
  CHECK(Contains(list("datasets"), "wikitext-2"));
  CHECK(Contains(list("kernels"), "scalar"));
  CHECK(Contains(list("kernels"), "in use"));
}

TEST_CASE("run_eval: --help and --version") {
  const RunEvalLab lab;
  const ProcessResult help = lab.Run({"--help"});
  CheckDone(help);
  for (const char* flag : {"--set", "--methods", "--windows", "--threads", "--out", "--dry-run",
                           "--resume", "--quiet", "--json", "--list", "exit codes"}) {
    INFO(flag);
    CHECK(Contains(help.out, flag));
  }
  const ProcessResult version = lab.Run({"--version"});
  CheckDone(version);
  CHECK(version.out.starts_with("QuantRef 0."));
}

TEST_CASE("run_eval: results are the same bits for any number of threads") {
  RecordJson base;
  for (const char* threads : {"1", "2", "4"}) {
    INFO(threads << " threads");
    const RunEvalLab lab;
    CheckDone(lab.Run({lab.config(), "--threads", threads}));
    RecordJson rtn = lab.Record("rtn");
    CHECK(rtn["environment"]["threads"] == std::stoi(threads));
    CHECK(rtn["accuracy"]["window_nll"].size() > 8);
    if (base.is_null()) base = rtn;
    CHECK(rtn["accuracy"] == base["accuracy"]);
    CHECK(rtn["hashes"] == base["hashes"]);
    CHECK(rtn["layers"].size() == base["layers"].size());
  }
}

TEST_CASE("run_eval: two configs in one run share the reference") {
  const RunEvalLab lab;
  testing::WriteFile(lab / "other.yaml", lab.ConfigText("other") + "offline: error\n");
  const ProcessResult result = lab.Run({lab.config(), "other.yaml", "--json"});
  CheckDone(result);
  const RecordJson records = RecordJson::parse(result.out);
  REQUIRE(records.size() == 4);
  Strings names;
  for (const RecordJson& record : records) {
    names.push_back(record["config"]["name"].get<std::string>() + " " +
                    record["method"].get<std::string>());
  }
  CHECK(names == Strings{"tiny fp32", "tiny rtn", "other fp32", "other rtn"});
  CHECK(records[0]["accuracy"]["window_nll"] == records[2]["accuracy"]["window_nll"]);
  CHECK(records[1]["accuracy"]["window_nll"] == records[3]["accuracy"]["window_nll"]);
  CHECK(lab.RecordFiles().size() == 4);
  const ProcessResult table = lab.Run({lab.config(), "other.yaml"});
  CHECK(Contains(table.out, "tiny"));
  CHECK(Contains(table.out, "other"));
}

TEST_CASE("run_eval: another model or protocol makes another group of the same run") {
  const RunEvalLab lab;
  testing::WriteFile(lab / "stride.yaml",
                     lab.ConfigText("stride") + "quantize: {}\n");  // a key that stands twice
  CHECK(lab.Run({lab.config(), "stride.yaml"}).exit_code == 2);
  testing::WriteFile(lab / "stride.yaml",
                     "name: stride\nmodel: ./model\n"
                     "accuracy: {dataset: ./text.txt, protocol: full-stride}\nthroughput: none\n");
  CheckDone(lab.Run({lab.config(), "stride.yaml", "--windows", "3"}));
  const Strings files = lab.RecordFiles();
  REQUIRE(files.size() == 3);
  CHECK(files[0].starts_with("stride-fp32-"));
}

TEST_CASE("run_eval: QUANTREF_FORCE_ISA is obeyed and recorded") {
  const RunEvalLab lab;
  CheckDone(lab.Run({lab.config()}, {.environment = {{"QUANTREF_FORCE_ISA", "scalar"}}}));
  CHECK(lab.Record("rtn")["environment"]["isa"] == "scalar");
}

TEST_CASE("run_eval: offline, the sample stands in where that is wanted, loudly and on record") {
  const RunEvalLab lab;
  const Strings arguments = {lab.config(),
                             "--set",
                             "accuracy.dataset=wikitext-2",
                             "--set",
                             "accuracy.protocol=full-stride",
                             "--windows",
                             "2"};
  const ProcessResult refused = lab.Run(arguments);
  CHECK(refused.exit_code == 2);
  CHECK(Contains(refused.err, "wiki.test.raw is neither on this machine nor to be downloaded"));
  CHECK(Contains(refused.err, "offline: sample"));
  CHECK(lab.RecordFiles().empty());

  Strings allowed = arguments;
  allowed.insert(allowed.end(), {"--set", "offline=sample"});
  const ProcessResult result = lab.Run(allowed);
  CheckDone(result);
  CHECK(Contains(result.out, "NOT WIKITEXT"));
  CHECK(Contains(result.err, "NOT WIKITEXT"));
  for (const char* method : {"fp16", "rtn"}) {
    const RecordJson dataset = lab.Record(method)["dataset"];
    CHECK(dataset["name"] == "sample");
    CHECK(dataset["substituted_sample"] == true);
  }
}

}  // namespace
}  // namespace quantref
