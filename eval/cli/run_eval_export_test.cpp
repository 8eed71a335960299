// Quantized cells as checkpoints: run_eval --export.

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using testing::Together;
using Strings = std::vector<std::string>;

ProcessResult ExportTiny(const RunEvalLab& lab, const std::string& format,
                         const Strings& more = {}) {
  return lab.Run(Together({lab.config(), "--export", "out", "--export-format", format}, more));
}

TEST_CASE("run_eval: an exported cell has the logits of the cell", "[export]") {
  const RunEvalLab lab;
  const ProcessResult result =
      ExportTiny(lab, "dequantized-fp32", {"--set", "accuracy.path=simulated"});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(Contains(result.err, "out/tiny-rtn: tiny rtn as dequantized-fp32"));
  const RecordJson cell = lab.Record("rtn");
  const RecordJson origin =
      RecordJson::parse(testing::FileText(lab / "out/tiny-rtn/quantref.json"));
  CHECK(origin["cell"] == "rtn");
  CHECK(origin["weights_sha256"] == cell["hashes"]["packed_weights"]);
  const ProcessResult back = lab.Run(
      {lab.config(), "--set", "model=out/tiny-rtn", "--methods", "reference", "--out", "back"});
  INFO(back.err);
  REQUIRE(back.exit_code == 0);
  fs::remove_all(lab.records());
  fs::create_directories(lab.records().parent_path());
  fs::rename(lab / "back", lab.records());
  const RecordJson reference = lab.Record("reference");
  CHECK(reference["hashes"]["first_window_logits"] == cell["hashes"]["first_window_logits"]);
  CHECK(reference["accuracy"]["ppl"] == cell["accuracy"]["ppl"]);
}

TEST_CASE("run_eval: a cell that its format turns out not to hold is measured all the same",
          "[export]") {
  const RunEvalLab lab;
  constexpr char kSmall[] = "model.layers.0.self_attn.o_proj.weight";  // of scales below FP16's
  const testing::TinyModel shape{.intermediate = 64, .vocab = testing::kFewPieces, .context = 64};
  testing::WriteTinyModel(lab / "model", shape);
  testing::FileTensors tensors = testing::TinyTensors(shape);
  std::string& bytes = tensors.at(kSmall).bytes;
  for (size_t at = 0; at < bytes.size(); at += sizeof(float)) {
    float value;
    std::memcpy(&value, bytes.data() + at, sizeof(value));
    value *= 0x1p-20f;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
  }
  testing::WriteTensors(lab / "model", tensors);
  const ProcessResult result =
      ExportTiny(lab, "gptq",
                 {"--set",
                  "quantize.methods=[rtn, {method: rtn, label: whole, overrides: [{match: "
                  "layers.0.self_attn.o_proj, keep: true}]}]"});
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "tiny rtn is NOT EXPORTED"));
  CHECK(Contains(result.err, "expected scales that are FP16 numbers"));
  CHECK(Contains(result.err, "1 cell could not be exported"));
  CHECK_FALSE(fs::exists(lab / "out/tiny-rtn"));
  CHECK(fs::exists(lab / "out/tiny-whole/model.safetensors"));
  for (const char* method : {"fp32", "rtn", "whole"})
    CHECK(lab.Record(method)["accuracy"]["ppl"].get<double>() > 0);
}

// The cell, and what its export is as a candidate.
struct RoundTrip {
  RecordJson cell, back;
};
RoundTrip ExportAndJudge(const std::string& format, const Strings& more) {
  const RunEvalLab lab;
  testing::WriteTinyModel(lab / "model",
                          {.intermediate = 64, .vocab = testing::kFewPieces, .context = 64});
  testing::CheckDone(ExportTiny(lab, format, more));
  RecordJson cell = lab.Record("rtn");
  testing::CheckDone(lab.Run(
      Together({lab.config(), "--candidate", "back=out/tiny-rtn", "--methods", "fp32"}, more)));
  return {std::move(cell), lab.Record("back")};
}

TEST_CASE("run_eval: an export that is judged as a candidate has the cell's hash and logits",
          "[export]") {
  constexpr char kInt4[] = "quantize.weights={bits: 4, group: 16}",
                 kSymmetric[] = "quantize.weights={bits: 4, group: 32, symmetric: true}",
                 kFull[] =
                     "quantize.weights={bits: 4, group: 16, symmetric: true, full_range: true}",
                 kMinMax[] = "quantize.weights={bits: 4, group: 16, zero_in_range: false}",
                 kInt8[] = "quantize.weights={bits: 8, group: row, symmetric: true}",
                 kByToken[] = "quantize.activations={bits: 8}",
                 kTurned[] =
                     "quantize.methods=[{method: quarot+rtn, label: rtn, quarot: {online: false}}]",
                 kMixed[] =
                     "quantize.overrides=[{match: '*.down_proj', full_range: true}, {match: "
                     "'layers.0.mlp.*', bits: 8}, {match: '*.o_proj', keep: true}]",
                 kOrdered[] =
                     "quantize.methods=[{method: gptq, label: rtn, gptq: {static_groups: false}}]",
                 kOnItself[] =
                     "calibration={dataset: ./text.txt, samples: 2, length: 64, allow_overlap: "
                     "true}",
                 kSimulated[] = "accuracy.path=simulated";
  struct Case {
    const char* format;
    Strings sets;
  };
  const std::vector<Case> cases = {{"pack-quantized", {kInt4}},
                                   {"pack-quantized", {kSymmetric}},
                                   {"pack-quantized", {kFull}},
                                   {"pack-quantized", {kMinMax, kByToken}},
                                   {"pack-quantized", {kInt8}},
                                   {"pack-quantized", {kInt4, kTurned}},
                                   {"pack-quantized", {kSymmetric, kMixed}},
                                   {"gptq", {kSymmetric, kMixed}},
                                   {"int-quantized", {kInt8, kByToken}},
                                   {"gptq", {kInt4}},
                                   {"gptq", {kFull}},
                                   {"gptq", {kMinMax}},
                                   {"gptq", {kInt8}},
                                   {"gptq", {kInt4, kOrdered, kOnItself}},
                                   {"awq", {kInt4}},
                                   {"awq", {kMinMax}},
                                   {"gguf", {kSymmetric, kSimulated}},
                                   {"gguf", {kInt8, kSimulated}}};
  for (const Case& one : cases) {
    INFO(one.format << " " << one.sets.front());
    Strings more = {"--windows", "2"};
    for (const std::string& set : one.sets) more.insert(more.end(), {"--set", set});
    const RoundTrip trip = ExportAndJudge(one.format, more);
    CHECK(trip.back["hashes"]["first_window_logits"] == trip.cell["hashes"]["first_window_logits"]);
    CHECK(trip.back["accuracy"]["window_nll"] == trip.cell["accuracy"]["window_nll"]);
    if (std::string(one.format) == "gguf") continue;  // which repeats scales
    CHECK(trip.back["hashes"]["packed_weights"] == trip.cell["hashes"]["packed_weights"]);
  }
}

TEST_CASE("run_eval: an exported folder of codes is a reference of the cell's own numbers",
          "[export]") {
  struct Case {
    const char *format, *name, *stored;
  };
  for (const Case& one :
       {Case{"pack-quantized", "compressed-tensors pack-quantized", "int4 g32 sym"},
        Case{"gptq", "gptq v2", "int4 g32 sym"}}) {
    INFO(one.format);
    const RunEvalLab lab;
    testing::WriteTinyModel(
        lab / "model",
        {.hidden = 64, .intermediate = 64, .vocab = testing::kFewPieces, .context = 64});
    const Strings codes = {"--set", "quantize.weights={bits: 4, group: 32, symmetric: true}",
                           "--set", "accuracy.path=simulated"};
    testing::CheckDone(ExportTiny(lab, one.format, codes));
    const RecordJson cell = lab.Record("rtn");
    fs::remove_all(lab.records());
    const Strings asked =
        Together({lab.config(), "--set", "model=out/tiny-rtn", "--methods", "rtn"}, codes);
    const ProcessResult plan = lab.Run(Together(asked, {"--dry-run"}));
    testing::CheckDone(plan);
    CHECK(Contains(plan.out, "QUANTIZED file, decoded (" + std::string(one.stored)));
    const ProcessResult result = lab.Run(asked);
    testing::CheckDone(result);
    CHECK(Contains(result.out, "QUANTIZED file, decoded (" + std::string(one.stored)));
    const RecordJson reference = lab.Record("reference"), again = lab.Record("rtn");
    CHECK(reference["accuracy"]["window_nll"] == cell["accuracy"]["window_nll"]);
    CHECK(reference["hashes"]["first_window_logits"] == cell["hashes"]["first_window_logits"]);
    CHECK_FALSE(reference["hashes"].contains("packed_weights"));
    CHECK(Contains(reference["method"].get<std::string>(), "fp32"));
    const RecordJson& model = reference["model"];
    CHECK(model["decoded"] == true);
    CHECK(model["foreign"]["format"] == one.name);
    CHECK(model["foreign"]["layer_bits"].size() == 2);
    CHECK(model["foreign"]["types"][0]["matrices"] == 14);
    CHECK(model["foreign"]["types"][0]["bits"].get<double>() == Approx(5).margin(0.6));
    CHECK(again["accuracy"]["kl_mean"].get<double>() < 1e-3);  // rounding once more
    const ProcessResult refused = lab.Run(Together(asked, {"--export", "more"}));
    CHECK(refused.exit_code == 2);
    CHECK(Contains(refused.err, "another tool has quantized"));
  }
}

// Changes the first number, of F32.
void ChangeTensor(const fs::path& file, const char* name) {
  std::string bytes = testing::FileText(file);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const auto json = nlohmann::json::parse(bytes.substr(sizeof(header), header));
  const size_t begin = json[name]["data_offsets"][0];
  bytes[sizeof(header) + header + begin] ^= 1;
  testing::WriteFile(file, bytes);
}

TEST_CASE("run_eval: matrices beside the codes that are not the reference's are told") {
  const RunEvalLab lab;
  testing::CheckDone(ExportTiny(lab, "pack-quantized", {"--windows", "1"}));
  const Strings judged = {
      lab.config(), "--candidate", "back=out/tiny-rtn", "--methods", "fp32", "--windows", "1"};
  testing::CheckDone(lab.Run(judged));
  CHECK(lab.Record("back")["candidate"]["notes"].empty());
  fs::remove_all(lab.records());
  ChangeTensor(lab / "out/tiny-rtn/model.safetensors", "model.embed_tokens.weight");
  testing::CheckDone(lab.Run(judged));
  const RecordJson notes = lab.Record("back")["candidate"]["notes"];
  REQUIRE(notes.size() == 1);
  CHECK(notes[0]["count"] == 1);
  CHECK(Contains(notes[0]["what"].get<std::string>(), "kept beside the codes"));
}

TEST_CASE("run_eval: a folder whose inputs are rounded is a candidate, and no reference") {
  const RunEvalLab lab;
  testing::CheckDone(ExportTiny(lab, "int-quantized",
                                {"--set", "quantize.weights={bits: 8, group: row, symmetric: true}",
                                 "--set", "quantize.activations={bits: 8}"}));
  fs::remove_all(lab.records());
  const ProcessResult result = lab.Run({lab.config(), "--set", "model=out/tiny-rtn"});
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "the inputs of"));
  CHECK(Contains(result.err, "--candidate"));
  CHECK(lab.RecordFiles().empty());
}

TEST_CASE("run_eval: what an export cannot be is said before anything is quantized", "[export]") {
  const RunEvalLab lab;
  struct Case {
    Strings arguments;
    const char *format, *part;
  };
  const std::vector<Case> cases = {
      {{}, "gguf", "rtn of tiny"},
      {{}, "int-quantized", "formats that can: pack-quantized"},
      {{"--dry-run"}, "int-quantized", "has codes of 8 bits"},
      {{"--set", "quantize.activations={bits: 8}"}, "gptq", "activations are rounded"},
      {{"--set", "quantize.kv_cache={bits: 8, group: 16}"}, "gptq", "keys and values"},
      {{}, "nonsense", "nonsense"},
      {{"--set", "model={synthetic: tiny}"}, "gptq", "synthetic"}};
  for (const Case& one : cases) {
    INFO(one.format << " " << one.part);
    const ProcessResult result = ExportTiny(lab, one.format, one.arguments);
    INFO(result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, one.part));
    CHECK_FALSE(Contains(result.err, "quantizing"));
    CHECK(lab.RecordFiles().empty());
    CHECK_FALSE(fs::exists(lab / "out"));
  }
}

TEST_CASE("run_eval: an export of nothing, or of a format and no folder, is refused") {
  const RunEvalLab lab;
  const auto refusal = [&](const Strings& arguments) {
    const ProcessResult result = lab.Run(Together({lab.config()}, arguments));
    CHECK(result.exit_code == 2);
    CHECK(lab.RecordFiles().empty());
    CHECK_FALSE(fs::exists(lab / "out"));
    return result.err;
  };
  CHECK(Contains(refusal({"--export", "out", "--methods", "reference"}), "a quantized cell"));
  CHECK(Contains(
      refusal({"--export", "out", "--set", "quantize.methods=[]", "--candidate", "it=model"}),
      "a quantized cell"));
  const std::string alone = refusal({"--export-format", "gptq"});
  CHECK(Contains(alone, "--export-format"));
  CHECK(Contains(alone, "--export"));
  testing::WriteFile(lab / "file", "no folder");
  const std::string file = refusal({"--export", "file/out"});
  CHECK(Contains(file, "exports cannot be written to file/out"));
  CHECK(Contains(file, "another folder with --export"));
  CHECK_FALSE(Contains(file, "--out"));
}

TEST_CASE("run_eval: an export is never written over, and a run that goes on keeps its own") {
  const RunEvalLab lab;
  testing::CheckDone(ExportTiny(lab, "gptq"));
  const std::string config = testing::FileText(lab / "out/tiny-rtn/config.json");
  const ProcessResult again = ExportTiny(lab, "gptq");
  INFO(again.err);
  CHECK(again.exit_code == 2);
  CHECK(Contains(again.err, "out/tiny-rtn"));
  CHECK(Contains(again.err, "choose another folder with --export"));
  CHECK(lab.RecordFiles().size() == 2);
  fs::remove_all(lab.records());
  testing::CheckDone(ExportTiny(lab, "gptq", {"--resume"}));
  CHECK(testing::FileText(lab / "out/tiny-rtn/config.json") == config);
  fs::remove_all(lab.records());
  const ProcessResult other =
      ExportTiny(lab, "gptq", {"--resume", "--set", "quantize.weights.bits=8"});
  CHECK(other.exit_code == 2);
  CHECK(Contains(other.err, "left as it is"));
}

TEST_CASE("run_eval: cells whose exports would have one name are refused before they are made") {
  const RunEvalLab lab;
  for (const auto& [name, cell] : {std::pair{"a", "b-c"}, std::pair{"a-b", "c"}}) {
    const std::string methods = "methods: [{method: rtn, label: " + std::string(cell) + "}]";
    std::string text = lab.ConfigText(name);
    text.replace(text.find("methods: [rtn]"), 14, methods);
    testing::WriteFile(lab / (std::string(name) + ".yaml"), text);
  }
  const ProcessResult result = lab.Run({"a.yaml", "a-b.yaml", "--export", "out"});
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "out/a-b-c: expected a folder of its own for each cell"));
  CHECK(lab.RecordFiles().empty());
}

TEST_CASE("run_eval: an export that the disk does not take is one message, and the cell is measured") {
  const RunEvalLab lab;
  const ProcessResult result =
      lab.Run({lab.config(), "--export", "out", "--export-format", "dequantized"},
              {.file_size_limit = size_t{100} << 10});
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "out/"));
  CHECK(Contains(result.err, "choose another folder with --export"));
  CHECK_FALSE(Contains(result.err, "--out"));
  CHECK(fs::is_empty(lab / "out"));
  CHECK(lab.RecordFiles().size() == 2);
}

}  // namespace
}  // namespace quantref
