// Checkpoints that other tools made, as cells: from the file to the record.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/base/sha256.h"
#include "harness/testing/tiny_gguf.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::FileTensors;
using testing::NoteOf;
using testing::ProcessResult;
using testing::RecordJson;
using testing::RunEvalLab;
using testing::TinyModel;
using Strings = std::vector<std::string>;

const TinyModel kLabShape{.vocab = testing::kFewPieces, .context = 64};
const TinyModel kLetters{
    .hidden = 64, .intermediate = 96, .vocab = testing::kLetterPieces, .context = 64};
constexpr uint32_t kQ8_0Blocks = 8;

void WriteFolder(const fs::path& dir, const TinyModel& shape, const FileTensors& tensors) {
  testing::WriteTinyModel(dir, shape);
  testing::WriteTensors(dir, tensors);
  testing::WriteFewPieces(dir);
}

// Of F32 numbers.
template <typename F>
void ChangeNumbers(testing::FileTensor& tensor, const F& f) {
  for (size_t at = 0; at < tensor.bytes.size(); at += sizeof(float)) {
    float value;
    std::memcpy(&value, tensor.bytes.data() + at, sizeof(value));
    value = f(value);
    std::memcpy(tensor.bytes.data() + at, &value, sizeof(value));
  }
}

TEST_CASE("run_eval: a folder that equals the reference changes nothing, and is told in full") {
  const RunEvalLab lab;
  WriteFolder(lab / "same", kLabShape, testing::TinyTensors(kLabShape));
  const ProcessResult result = lab.Run({lab.config(), "--candidate", "same=./same"});
  testing::CheckDone(result);
  const RecordJson record = lab.Record("same"), reference = lab.Record("fp32");
  CHECK(record["accuracy"]["window_nll"] == reference["accuracy"]["window_nll"]);
  CHECK(record["accuracy"]["kl_mean"] == 0.0);
  CHECK(record["accuracy"]["delta_nll"] == 0.0);
  CHECK(record["accuracy"]["top1_agreement"] == 1.0);
  CHECK(record["accuracy"]["against"][0]["method"] == "rtn");
  CHECK(record["scheme"] == RecordJson{{"name", "F32"}, {"bits", 32}, {"granularity", "none"}});
  CHECK(record["activations"] == "none");
  CHECK(record["effective_bits"] == 32.0);
  CHECK_FALSE(record.contains("path"));
  CHECK_FALSE(record["hashes"].contains("packed_weights"));
  const RecordJson& candidate = record["candidate"];
  CHECK(candidate["name"] == "same");
  CHECK(candidate["format"] == "safetensors");
  CHECK(candidate["sha256"] == Sha256Hex(testing::FileText(lab / "same/model.safetensors")));
  CHECK(candidate["disk_bytes"] == fs::file_size(lab / "same/model.safetensors"));
  CHECK(candidate["plain_matrices"] == 16);
  CHECK(candidate["changed_norms"] == 0);
  CHECK(candidate["layer_bits"] == RecordJson({32.0, 32.0}));
  CHECK(candidate["matrices"][1]["name"] == "layers.0.self_attn.q_proj");
  CHECK(candidate["matrices"][1]["weight_mse"] == 0.0);
  CHECK(candidate["notes"].empty());
  CHECK(record["model"] == reference["model"]);
  CHECK(record["config"]["resolved"]["candidates"][0]["path"] == "same");
  CHECK(Contains(result.out, "same: safetensors, "));
}

TEST_CASE("run_eval: what a candidate's weights and norms are is compared with the reference") {
  const RunEvalLab lab;
  FileTensors coarse = testing::TinyTensors(kLabShape);
  ChangeNumbers(coarse.at("model.layers.1.mlp.up_proj.weight"),
                [](float x) { return std::round(x * 16) / 16; });
  WriteFolder(lab / "coarse", kLabShape, coarse);
  RecordJson config = RecordJson::parse(testing::FileText(lab / "coarse/config.json"));
  config["rope_scaling"] = {{"rope_type", "yarn"},
                            {"factor", 1},
                            {"attention_factor", 1.5},
                            {"original_max_position_embeddings", 64}};
  testing::WriteFile(lab / "coarse/config.json", config.dump());
  FileTensors folded = coarse;
  ChangeNumbers(folded.at("model.layers.0.input_layernorm.weight"), [](float x) { return 2 * x; });
  WriteFolder(lab / "folded", kLabShape, folded);
  const ProcessResult result = lab.Run({lab.config(), "--candidate", "coarse=coarse", "--candidate",
                                        "folded=folded", "--methods", "fp16", "--layers"});
  testing::CheckDone(result);
  const auto changed = [&](const RecordJson& record) {
    size_t count = 0;
    for (const RecordJson& matrix : record["candidate"]["matrices"])
      count += matrix.contains("weight_mse") && matrix["weight_mse"] > 0.0;
    return count;
  };
  const RecordJson first = lab.Record("coarse"), second = lab.Record("folded");
  CHECK(changed(first) == 1);
  CHECK(Contains(NoteOf(first, "its scores are multiplied by"), "\"doubtful\":true"));
  CHECK(first["accuracy"]["kl_mean"] > 0.0);
  CHECK(second["candidate"]["changed_norms"] == 1);
  for (const RecordJson& matrix : second["candidate"]["matrices"])
    CHECK_FALSE(matrix.contains("weight_mse"));
  CHECK(Contains(result.out, "folded: 1 norm changed beside the reference's"));
  CHECK(Contains(result.out, "layers.1.mlp.up_proj"));
}

TEST_CASE("run_eval: a norm that is another hides no matrices that are others") {
  FileTensors swapped = testing::TinyTensors(kLabShape);
  std::swap(swapped.at("model.layers.1.mlp.up_proj.weight"),
            swapped.at("model.layers.1.mlp.gate_proj.weight"));
  for (const char* norm : {"model.norm.weight", "model.layers.1.post_attention_layernorm.weight"}) {
    const RunEvalLab lab;
    FileTensors hidden = swapped;
    ChangeNumbers(hidden.at(norm), [](float x) { return 1.5f * x; });
    WriteFolder(lab / "hidden", kLabShape, hidden);
    testing::CheckDone(
        lab.Run({lab.config(), "--candidate", "hidden=hidden", "--methods", "fp16"}));
    const std::string note = NoteOf(lab.Record("hidden"), "hardly correlated");
    CHECK(Contains(note, "\"count\":2"));
    CHECK(Contains(note, "\"doubtful\":true"));
  }
}

TEST_CASE("run_eval: a window that no window of the text fills is none") {
  const RunEvalLab lab;
  for (const auto& [name, window] : {std::pair{"wide", 64}, std::pair{"narrow", 4}}) {
    WriteFolder(lab / name, kLabShape, testing::TinyTensors(kLabShape));
    RecordJson config = RecordJson::parse(testing::FileText(lab / name / "config.json"));
    config["model_type"] = "mistral";
    config["architectures"] = {"MistralForCausalLM"};
    config["sliding_window"] = window;
    testing::WriteFile(lab / name / "config.json", config.dump());
  }
  testing::CheckDone(lab.Run({lab.config(), "--candidate", "wide=wide", "--candidate",
                              "narrow=narrow", "--methods", "fp16"}));
  CHECK(lab.Record("wide")["candidate"]["notes"].empty());
  CHECK(Contains(NoteOf(lab.Record("narrow"), "attend to another window"), "\"doubtful\":true"));
}

// The reference is a folder of letters, the candidate a GGUF file.
ProcessResult JudgeGguf(const RunEvalLab& lab, testing::GgufBuilder file,
                        const Strings& more = {}) {
  testing::AddLetterTokenizer(file);
  file.Write(lab / "tiny-q8_0.gguf");
  testing::WriteTinyModel(lab / "letters", kLetters);
  testing::WriteLetterTokenizer(lab / "letters");
  std::string text;
  while (text.size() < 600) text += "the quick brown fox and so on ";
  text.pop_back();  // SentencePiece leaves out a space at the end, and a GGUF tokenizer does not
  testing::WriteFile(lab / "text.txt", text);
  return lab.Run(testing::Together(
      {lab.config(), "--set", "model=letters", "--set", "quantize.methods=[]", "--set",
       "accuracy.protocol=llamacpp-16", "--candidate", "gguf=tiny-q8_0.gguf"},
      more));
}

TEST_CASE("run_eval: a GGUF candidate scores as the same file does as the model") {
  const RunEvalLab lab;
  const ProcessResult result = JudgeGguf(lab, testing::TinyGgufOfBlocks(kLetters, kQ8_0Blocks, 3),
                                         {"--set", testing::kQuickThroughput});
  testing::CheckDone(result);
  const RecordJson record = lab.Record("gguf");
  CHECK(record["scheme"] == RecordJson{{"name", "Q8_0"},
                                       {"bits", 8},
                                       {"granularity", "group"},
                                       {"symmetric", true},
                                       {"format", "Q8_0"},
                                       {"group", 32}});
  CHECK(record["effective_bits"] == 8.5);
  CHECK(record["path"] == "simulated");
  CHECK(record["candidate"]["format"] == "gguf llama");
  CHECK(record["candidate"]["decoded"] == true);
  CHECK(record["candidate"]["types"][0] ==
        RecordJson{{"name", "Q8_0"},
                   {"matrices", 16},
                   {"weights", record["candidate"]["types"][0]["weights"]},
                   {"bits", 8.5}});
  CHECK_FALSE(record.contains("throughput"));  // it would be that of decoded numbers
  CHECK(lab.Record("fp32").contains("throughput"));
  CHECK(Contains(result.out, "its speed is not measured"));
  // Random blocks are no rounding of the reference.
  CHECK(Contains(NoteOf(record, "hardly correlated with the reference's"), "\"count\":16"));

  const RunEvalLab other;
  fs::copy_file(lab / "tiny-q8_0.gguf", other / "tiny-q8_0.gguf");
  testing::WriteFile(other / "text.txt", testing::FileText(lab / "text.txt"));
  testing::CheckDone(other.Run({other.config(), "--set", "model=tiny-q8_0.gguf", "--set",
                                "quantize.methods=[]", "--set", "accuracy.protocol=llamacpp-16"}));
  CHECK(other.Record("fp16")["accuracy"]["window_nll"] == record["accuracy"]["window_nll"]);
}

TEST_CASE("run_eval: a GGUF file that stands beside the safetensors that are read is told") {
  const RunEvalLab lab;
  WriteFolder(lab / "both", kLabShape, testing::TinyTensors(kLabShape));
  testing::WriteFile(lab / "both/other.gguf", "not looked at");
  const ProcessResult result =
      lab.Run({lab.config(), "--set", "model=./both", "--candidate", "both=both"});
  testing::CheckDone(result);
  CHECK(NoteOf(lab.Record("both"), "not other.gguf beside them: name the file") != "");
  CHECK(Contains(result.err, "the reference both: its safetensors are read, not other.gguf"));
  CHECK(Contains(lab.Record("both")["model"]["passed_by"].dump(), "not other.gguf beside them"));
  CHECK(Contains(result.out, "the reference: its safetensors are read, not other.gguf"));
}

TEST_CASE("run_eval: a GGUF file of the reference's own numbers is the reference") {
  const RunEvalLab lab;
  const ProcessResult result = JudgeGguf(lab, testing::TinyGguf(kLetters));
  testing::CheckDone(result);
  const RecordJson record = lab.Record("gguf");
  CHECK(record["accuracy"]["kl_mean"] == 0.0);
  CHECK(record["candidate"]["changed_norms"] == 0);
  CHECK(record["candidate"]["matrices"][1]["weight_mse"] == 0.0);
  // Its name promises what is not in it; but of the embedding and the head it promises nothing.
  CHECK(Contains(NoteOf(record, "of another type than Q8_0"), "\"count\":14"));
}

TEST_CASE("run_eval: candidates of which nothing can be compared are refused in one message") {
  const RunEvalLab lab;
  const auto refusal = [&](const std::string& path) {
    const ProcessResult result = lab.Run({lab.config(), "--candidate", "other=" + path});
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, "candidate other: "));
    CHECK(lab.RecordFiles().empty());
    return result.err;
  };
  const std::string nowhere = refusal("nowhere.gguf");
  CHECK(Contains(nowhere, "run_eval: candidates: nowhere.gguf: "));
  CHECK(Contains(nowhere, "no .gguf file of this name"));

  WriteFolder(lab / "tokens", kLabShape, testing::TinyTensors(kLabShape));
  testing::WriteLetterTokenizer(lab / "tokens");
  const std::string tokens = refusal("tokens");
  CHECK(Contains(tokens, "the first that differs is 1, at byte 0 of the text"));
  CHECK(Contains(tokens, "expected the reference's id "));

  TinyModel deeper = kLabShape, smaller = kLabShape;
  deeper.layers = 3;
  smaller.vocab = testing::kFewPieces + 64;
  WriteFolder(lab / "deeper", deeper, testing::TinyTensors(deeper));
  CHECK(Contains(refusal("deeper"), "expected 2, as the reference has, found 3: blocks"));
  WriteFolder(lab / "vocabulary", smaller, testing::TinyTensors(smaller));
  CHECK(Contains(refusal("vocabulary"), "rows of the embedding"));
  TinyModel shorter = kLabShape;
  shorter.context = 32;
  WriteFolder(lab / "shorter", shorter, testing::TinyTensors(shorter));
  CHECK(Contains(refusal("shorter"), "its context is 32 tokens"));

  WriteFolder(lab / "cut", kLabShape, testing::TinyTensors(kLabShape));
  const std::string whole = testing::FileText(lab / "cut/model.safetensors");
  testing::WriteFile(lab / "cut/model.safetensors", whole.substr(0, whole.size() - 8));
  CHECK(Contains(refusal("cut"), "model.safetensors"));
}

TEST_CASE("run_eval: what is wrong with a candidate's weights is said under its label") {
  const RunEvalLab lab;
  FileTensors tensors = testing::TinyTensors(kLabShape);
  ChangeNumbers(tensors.at("model.layers.1.mlp.up_proj.weight"), [](float) { return INFINITY; });
  WriteFolder(lab / "broken", kLabShape, tensors);
  const ProcessResult result = lab.Run({lab.config(), "--candidate", "broken=broken"});
  CHECK(result.exit_code == 2);
  CHECK(Contains(result.err, "candidate broken: tensor layers.1.mlp.up_proj"));
}

TEST_CASE("run_eval: candidates are compared and gated, and set in tables, as any cell") {
  const RunEvalLab lab;
  FileTensors tensors = testing::TinyTensors(kLabShape);
  WriteFolder(lab / "it", kLabShape, tensors);
  const ProcessResult first =
      lab.Run({lab.config(), "--candidate", "it=it", "--out", "before", "--columns", "all"});
  testing::CheckDone(first);
  ChangeNumbers(tensors.at("model.layers.1.mlp.up_proj.weight"),
                [](float x) { return std::round(x * 4) / 4; });
  testing::WriteTensors(lab / "it", tensors);
  testing::CheckDone(lab.Run({lab.config(), "--candidate", "it=it", "--out", "after"}));
  const auto run = [&](const std::string& program, Strings arguments) {
    arguments.insert(arguments.begin(), testing::Program(program));
    return testing::RunProcess(arguments, lab.Options());
  };
  const ProcessResult same = run("compare_results", {"before", "before", "--gate"});
  testing::CheckDone(same);
  CHECK(Contains(same.out, "it"));
  const ProcessResult other = run("compare_results", {"before", "after"});
  CHECK(Contains(other.out, "candidate.sha256"));
  const ProcessResult table = run("make_tables", {"before", "--columns", "all"});
  testing::CheckDone(table);
  CHECK(table.out == first.out);
}

TEST_CASE("run_eval: --dry-run checks candidates and reads no weights") {
  const RunEvalLab lab;
  WriteFolder(lab / "same", kLabShape, testing::TinyTensors(kLabShape));
  const ProcessResult result = lab.Run({lab.config(), "--candidate", "same=same", "--dry-run"});
  testing::CheckDone(result);
  CHECK(Contains(result.out, "same"));
  CHECK(lab.RecordFiles().empty());
}

Strings KilledAndResumed(bool resume) {
  Strings arguments = testing::SmokeArguments(
      4, {"--candidate", "self=wikilm-2m", "--set", "quantize.methods=[rtn]"});
  if (resume) arguments.emplace_back("--resume");
  return arguments;
}

TEST_CASE("run_eval: killed with a candidate, --resume gives the bit-identical result") {
  const RunEvalLab whole, lab;
  testing::CheckDone(whole.Run(KilledAndResumed(false)));
  {
    testing::Process process(lab.Command(KilledAndResumed(false)), lab.Options());
    REQUIRE(lab.WaitForWindows());
    process.Signal(SIGKILL);
    process.Wait();
  }
  testing::CheckDone(lab.Run(KilledAndResumed(true)));
  for (const char* method : {"self", "rtn", "fp16"}) {
    const RecordJson expected = whole.Record(method), found = lab.Record(method);
    for (const char* part : {"accuracy", "hashes", "protocol"})
      CHECK(found[part] == expected[part]);
  }
  CHECK(lab.Record("self")["candidate"] == whole.Record("self")["candidate"]);
  CHECK(lab.Record("self")["accuracy"]["kl_mean"] == 0.0);
  // What stands is not measured again.
  const ProcessResult again = lab.Run(KilledAndResumed(true));
  testing::CheckDone(again);
  CHECK(Contains(again.err, "3 of 3 cells are finished"));
}

}  // namespace
}  // namespace quantref
