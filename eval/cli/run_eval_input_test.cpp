// Whatever a user, a file or the machine gets wrong ends run_eval with exit code 2, one message on
// stderr that says what and where, and no record.

#include <algorithm>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/io/file.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::ProcessOptions;
using testing::ProcessResult;
using testing::RunEvalLab;
using testing::WriteFile;
using Strings = std::vector<std::string>;

// The first part that the message lacks.
std::string Missing(const std::string& message, const Strings& parts) {
  for (const std::string& part : parts) {
    if (message.find(part) == std::string::npos) return part;
  }
  return "";
}

void CheckRefusal(const RunEvalLab& lab, const ProcessResult& result, const Strings& parts) {
  INFO("stderr: " << result.err);
  CHECK(result.exit_code == 2);
  CHECK(result.out == "");
  CHECK(result.err.starts_with("run_eval: "));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') <= 2);  // the message and its hint
  CHECK(Missing(result.err, parts) == "");
  CHECK(lab.RecordFiles().empty());
}

void CheckRefused(const RunEvalLab& lab, const Strings& arguments, const Strings& parts,
                  const ProcessOptions& options = {}) {
  Strings all = arguments;
  all.push_back("--quiet");  // so that stderr has the message only
  CheckRefusal(lab, lab.Run(all, options), parts);
}

// The tiny model's weights file, to be damaged.
std::string Weights(const RunEvalLab& lab) {
  return ReadFile(lab / "model/model.safetensors", size_t{1} << 26);
}

// The weights with something in the header replaced by a text of the same length.
void ReplaceInHeader(const RunEvalLab& lab, const std::string& from, const std::string& to) {
  std::string bytes = Weights(lab);
  const size_t at = bytes.find(from);
  REQUIRE(at != std::string::npos);
  REQUIRE(from.size() == to.size());
  WriteFile(lab / "model/model.safetensors", bytes.replace(at, from.size(), to));
}

TEST_CASE("run_eval input: truncated weights") {
  const RunEvalLab lab;
  const std::string bytes = Weights(lab);
  for (const size_t size : {size_t{0}, size_t{7}, size_t{100}, bytes.size() - 1}) {
    INFO(size << " bytes");
    WriteFile(lab / "model/model.safetensors", bytes.substr(0, size));
    CheckRefused(lab, {lab.config()}, {"model/model.safetensors"});
  }
}

TEST_CASE("run_eval input: weights whose header lies") {
  const RunEvalLab lab;
  const std::string header = Weights(lab).substr(8, 4000);
  const size_t at = header.find("\"data_offsets\":[") + 16;
  const std::string offsets = header.substr(at, header.find(']', at) - at);
  ReplaceInHeader(lab, "\"data_offsets\":[" + offsets,
                  "\"data_offsets\":[" + std::string(offsets.size() - 3, ' ') + "9,8");
  CheckRefused(lab, {lab.config()}, {"model/model.safetensors", "model.", "offsets"});
}

TEST_CASE("run_eval input: a tensor that is missing, misshapen or of another kind") {
  const RunEvalLab lab;
  const testing::FileTensors tensors =
      testing::TinyTensors({.vocab = testing::kFewPieces, .context = 64});
  testing::FileTensors changed = tensors;
  changed.erase("model.layers.1.mlp.up_proj.weight");
  testing::WriteTensors(lab / "model", changed);
  CheckRefused(lab, {lab.config()}, {"model", "model.layers.1.mlp.up_proj.weight"});

  changed = tensors;
  std::swap(changed["model.layers.0.mlp.down_proj.weight"].shape[0],
            changed["model.layers.0.mlp.down_proj.weight"].shape[1]);
  testing::WriteTensors(lab / "model", changed);
  CheckRefused(lab, {lab.config()},
               {"model.layers.0.mlp.down_proj.weight", "config.json", "32, 48", "48, 32"});

  changed = tensors;
  changed["model.norm.weight"].dtype = "I32";
  testing::WriteTensors(lab / "model", changed);
  CheckRefused(lab, {lab.config()}, {"model.norm.weight", "expected F32", "found I32"});

  changed = tensors;
  changed["model.extra.weight"] = changed["model.norm.weight"];
  testing::WriteTensors(lab / "model", changed);
  CheckRefused(lab, {lab.config()}, {"model.extra.weight"});
}

TEST_CASE("run_eval input: weights that are not finite, or of which the model overflows") {
  const RunEvalLab lab;
  testing::FileTensors tensors =
      testing::TinyTensors({.vocab = testing::kFewPieces, .context = 64});
  const std::vector<float> infinite(32, std::numeric_limits<float>::infinity());
  const std::vector<float> huge(32, 3e38f);
  tensors["model.norm.weight"].bytes = testing::Stored(infinite, "F32");
  testing::WriteTensors(lab / "model", tensors);
  CheckRefused(lab, {lab.config()}, {"model.norm.weight", "expected finite numbers", "inf"});
  tensors["model.norm.weight"].bytes = testing::Stored(huge, "F32");
  testing::WriteTensors(lab / "model", tensors);
  const ProcessResult result = lab.Run({lab.config(), "--quiet"});
  CHECK(result.exit_code == 2);
  CHECK(Missing(result.err, {"the logits of fp32 are not finite", "checkpoint"}) == "");
}

TEST_CASE(
    "run_eval input: a model that cannot be used is said before a scheme that it cannot have") {
  const RunEvalLab lab;
  WriteFile(lab / "model/tokenizer.model", "IQ== 0\nIg== 1\nIw== 2\n");
  CheckRefused(lab, {lab.config(), "--set", "quantize.keep=[lm_haed]"},
               {"model/tokenizer.model", "found a tiktoken vocabulary"});
  fs::remove(lab / "model/tokenizer.model");
  testing::WriteFewPieces(lab / "model");
  CheckRefused(lab, {lab.config(), "--set", "quantize.keep=[lm_haed]"}, {"matches no weight"});
}

TEST_CASE("run_eval input: a bad config.json") {
  const RunEvalLab lab;
  const nlohmann::json good = testing::TinyConfig({.vocab = testing::kFewPieces});
  const fs::path path = lab / "model/config.json";
  const auto check = [&](const std::string& text, const Strings& parts) {
    WriteFile(path, text);
    CheckRefused(lab, {lab.config()}, parts);
  };
  check("{\"model_type\": ", {"model/config.json"});
  check("[]", {"model/config.json", "expected an object, found []"});
  check("{}", {"model/config.json", "model_type", "found nothing"});
  nlohmann::json bad = good;
  bad["hidden_size"] = "32";
  check(bad.dump(), {"model/config.json", "hidden_size", "expected a whole number", "\"32\""});
  bad = good;
  bad["model_type"] = "gpt2";
  check(bad.dump(), {"model/config.json", "gpt2", "not supported"});
  fs::remove(path);
  CheckRefused(lab, {lab.config()}, {"model/config.json", "No such file"});
}

TEST_CASE("run_eval input: a tokenizer that is another model's, none, or damaged") {
  const RunEvalLab lab;
  const fs::path path = lab / "model/tokenizer.model";
  const std::string model = ReadFile(path, size_t{1} << 24);
  testing::WriteTinyModel(lab / "model", {.vocab = testing::kFewPieces - 1, .context = 64});
  CheckRefused(lab, {lab.config()},
               {"./model", "1023 rows", "1024 pieces", "tokenizer belongs to another model"});
  WriteFile(path, model.substr(0, model.size() / 2));
  CheckRefused(lab, {lab.config()}, {"model/tokenizer.model"});
  fs::remove(path);
  CheckRefused(lab, {lab.config()}, {"model/tokenizer.model", "no such file"});
}

TEST_CASE("run_eval input: texts that are none") {
  const RunEvalLab lab;
  const auto check = [&](const std::string& text, const Strings& parts) {
    WriteFile(lab / "text.txt", text);
    CheckRefused(lab, {lab.config()}, parts);
  };
  check("one\ntwo \xE9t\xE9\n", {"text.txt", "expected UTF-8", "0xe9", "line 2"});
  check("", {"text.txt", "empty"});
  check(" \n \n", {"text.txt", "white space"});
  check("too short\n", {"accuracy.dataset", "expected at least 64 tokens", "found 6"});
  fs::remove(lab / "text.txt");
  CheckRefused(lab, {lab.config()}, {"text.txt", "No such file"});
}

TEST_CASE("run_eval input: a context too short for the protocol") {
  const RunEvalLab lab;
  CheckRefused(lab, {lab.config(), "--set", "accuracy.protocol=llamacpp-512"},
               {"accuracy.protocol", "needs a context of 512", "has 64"});
}

TEST_CASE("run_eval input: configs that are wrong") {
  const RunEvalLab lab;
  const auto check = [&](const std::string& line, const Strings& parts) {
    INFO(line);
    WriteFile(lab / "bad.yaml", "name: bad\n" + line + "\n");
    CheckRefused(lab, {"bad.yaml"}, parts);
  };
  check("modle: x", {"bad.yaml:2: modle", "unknown key", "'model'"});
  check("quantize: {weights: {bits: four}}", {"bad.yaml:2: quantize.weights.bits", "found 'four'"});
  check("quantize: {methods: [rtm]}", {"bad.yaml:2: quantize.methods", "'rtm'", "'rtn'"});
  check("accuracy: {protocol: gptq2048}", {"bad.yaml:2: accuracy.protocol", "'gptq-2048'"});
  check("accuracy: {dataset: wikitext2}", {"wikitext2", "'wikitext-2'"});
  check("model: wikilm-2n", {"model: wikilm-2n", "'wikilm-2m'"});
  check("model: " + std::string(5000, 'x'), {"no .gguf file"});
  check("name: [", {"bad.yaml:", "not valid YAML"});
  check("quantize: &q {weights: *q}", {"bad.yaml:2", "nested too deeply"});
  CheckRefused(lab, {"none.yaml"}, {"none.yaml", "No such file", "--list configs"});
  CheckRefused(lab, {"model"}, {"model", "expected a file, found a folder"});
  CheckRefused(lab, {lab.config(), lab.config()}, {"tiny.yaml: name", "'tiny'"});
}

TEST_CASE("run_eval input: what a file says cannot steer the terminal") {
  const RunEvalLab lab;
  testing::WriteFile(lab / "bad.yaml", "name: x\n\"a\\e[2Jb\": 1\n");
  const ProcessResult result = lab.Run({"bad.yaml"});
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(testing::Contains(result.err, "bad.yaml:2: a?[2Jb: unknown key"));
  CHECK_FALSE(testing::Contains(result.err, "\x1b"));
}

TEST_CASE("run_eval input: a pattern that fits nothing of the model") {
  const RunEvalLab lab;
  CheckRefused(lab, {lab.config(), "--set", "quantize.keep=[lm_haed]"},
               {"quantize.keep", "'lm_haed' matches no weight"});
}

TEST_CASE("run_eval input: bad flags") {
  const RunEvalLab lab;
  const auto check = [&](const Strings& arguments, const Strings& parts) {
    const ProcessResult result = lab.Run(arguments);
    INFO(result.err);
    CHECK(result.exit_code == 2);
    CHECK(result.out == "");
    CHECK(Missing(result.err, parts) == "");
  };
  check({}, {"expected at least one config"});
  check({"--nonsense"}, {"--nonsense"});
  check({lab.config(), "--windows", "0"}, {"--windows"});
  check({lab.config(), "--windows", "many"}, {"--windows"});
  check({lab.config(), "--threads", "0"}, {"--threads"});
  check({lab.config(), "--threads"}, {"--threads"});
  check({lab.config(), "--set", "bits"}, {"--set", "key=value"});
  check({lab.config(), "--set", "quantize.bits=3"}, {"quantize.bits", "unknown key"});
  check({lab.config(), "--methods", "rtm"}, {"--methods", "'rtm'", "'rtn'"});
  check({lab.config(), "--json", "--quiet"}, {"--json", "--quiet"});
  check({"--list", "nonsense"}, {"--list", "nonsense"});
  CHECK_FALSE(fs::exists(lab / "results"));
}

TEST_CASE("run_eval input: an instruction set that there is not") {
  const RunEvalLab lab;
  CheckRefused(lab, {lab.config()}, {"QUANTREF_FORCE_ISA", "'nonsense'", "scalar"},
               {.environment = {{"QUANTREF_FORCE_ISA", "nonsense"}}});
}

TEST_CASE("run_eval input: a data folder that is none") {
  const RunEvalLab lab;
  CheckRefused(lab, {lab.config(), "--set", "accuracy.dataset=wikitext-2"},
               {"nowhere", "expected a folder", "QUANTREF_DATA"},
               {.environment = {{"QUANTREF_DATA", "nowhere"}}});
}

TEST_CASE("run_eval input: an output folder that cannot be written") {
  const RunEvalLab lab;  // permissions stop everybody but root, a file in the way stops all
  CheckRefused(lab, {lab.config(), "--out", "text.txt"}, {"--out", "text.txt"});
  CheckRefused(lab, {lab.config(), "--out", "text.txt/below"}, {"--out", "text.txt"});
  CheckRefused(lab, {lab.config(), "--out", "/proc/none"}, {"--out", "/proc/none"});
}

}  // namespace
}  // namespace quantref
