// GPTQ checkpoints as candidates: versions, orders, and what is told where they are not the file's.

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "harness/io/safetensors.h"
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
using Strings = std::vector<std::string>;

// Exports rtn and other cells of the tiny model as GPTQ's second version.
void ExportGptq(const RunEvalLab& lab) {
  testing::WriteTinyModel(lab / "model",
                          {.intermediate = 64, .vocab = testing::kFewPieces, .context = 64});
  testing::CheckDone(lab.Run(
      {lab.config(), "--export", ".", "--export-format", "gptq", "--windows", "2", "--set",
       "quantize.methods=[rtn, {method: rtn, label: sym, weights: {bits: 4, group: 32, symmetric: "
       "true}}, {method: gptq, label: ordered, gptq: {static_groups: false}}, {method: awq, label: "
       "folded}]",
       "--set", "calibration={dataset: ./text.txt, samples: 2, length: 64, allow_overlap: true}"}));
}

// A copy of the folder that says to be of this version.
void CopyAsVersion(const fs::path& from, const fs::path& to, const char* version) {
  fs::copy(from, to);
  RecordJson config = RecordJson::parse(testing::FileText(from / "config.json"));
  config["quantization_config"]["checkpoint_format"] = version;
  config["quantization_config"]["format"] = version;
  testing::WriteFile(to / "config.json", config.dump());
  fs::remove(to / "quantize_config.json");  // what it says otherwise is told, too
}

FileTensors TensorsOf(const fs::path& dir) {
  FileTensors tensors;
  const SafetensorsFile file = SafetensorsFile::Open(dir / "model.safetensors");
  for (const Tensor& tensor : file.tensors()) {
    tensors[tensor.name] = {std::string(DTypeName(tensor.dtype)),
                            tensor.shape,
                            {reinterpret_cast<const char*>(tensor.data), tensor.bytes}};
  }
  return tensors;
}

// Zero points of 4 bits become those of GPTQ's first version: less 1.
void StoreZerosLessOne(const fs::path& dir) {
  FileTensors tensors = TensorsOf(dir);
  for (auto& [name, tensor] : tensors) {
    if (!name.ends_with(".qzeros")) continue;
    for (char& c : tensor.bytes) c = static_cast<char>(((c - 1) & 0x0f) | ((c - 0x10) & 0xf0));
  }
  testing::WriteTensors(dir, tensors);
}

// A copy of the folder that has lost which group inputs are in.
void CopyWithoutOrder(const fs::path& from, const fs::path& to) {
  fs::copy(from, to);
  RecordJson config = RecordJson::parse(testing::FileText(from / "config.json"));
  config["quantization_config"]["desc_act"] = false;
  testing::WriteFile(to / "config.json", config.dump());
  FileTensors tensors = TensorsOf(from);
  std::erase_if(tensors, [](const auto& item) { return item.first.ends_with(".g_idx"); });
  testing::WriteTensors(to, tensors);
}

ProcessResult MakeInLab(const RunEvalLab& lab, const std::string& program,
                        const Strings& arguments) {
  return testing::RunProcess(testing::Together({testing::Program(program)}, arguments),
                             lab.Options());
}

// In a table of a spec and in the report.
void CheckStamped(const RunEvalLab& lab, const Strings& right, const Strings& wrong) {
  testing::WriteFile(
      lab / "table.yaml",
      "title: Versions\nrecords: [results/records]\nrows: [method]\ncells: [{metric: "
      "delta_ppl, marks: false, uncertainty: none}]\n");
  const ProcessResult table = MakeInLab(lab, "make_tables", {"table.yaml", "--format", "csv"});
  testing::CheckDone(table);
  for (const std::string& label : wrong)
    CHECK(Contains(table.out, "; " + label + ": NUMBERS IN DOUBT: "));
  for (const std::string& label : right)
    CHECK_FALSE(Contains(table.out, "; " + label + ": NUMBERS IN DOUBT"));
  testing::WriteFile(lab / "report.yaml",
                     "title: Versions\nrecords: [results/records]\ntables: [table.yaml]\n");
  testing::CheckDone(MakeInLab(lab, "make_report", {"report.yaml", "--out", "page.html"}));
  const std::string page = testing::FileText(lab / "page.html");
  for (const std::string& label : wrong)
    CHECK(Contains(page, "<li><b>X: " + label + ": NUMBERS IN DOUBT: "));
  CHECK(Contains(page, "probably MISREAD: as gptq v1"));
}

// Its own and that of a method's cell are one, so that tables set them beside each other; of a
// record that lacks it everything else is compared as ever.
void CheckScheme(const RunEvalLab& lab) {
  const RecordJson own = lab.Record("sym");
  CHECK(own["scheme"] == RecordJson{{"name", "int4 g32 sym"},
                                    {"bits", 4},
                                    {"granularity", "group"},
                                    {"symmetric", true},
                                    {"group", 32},
                                    {"full_range", false}});
  fs::copy(lab.records(), lab / "older");
  for (const fs::directory_entry& file : fs::directory_iterator(lab / "older")) {
    RecordJson record = RecordJson::parse(testing::FileText(file.path()));
    if (record.contains("scheme")) record["scheme"] = {{"name", record["scheme"]["name"]}};
    testing::WriteFile(file.path(), record.dump());
  }
  const ProcessResult compared =
      MakeInLab(lab, "compare_results", {"older", lab.records().string(), "--gate"});
  testing::CheckDone(compared);
  INFO(compared.out);
  CHECK(Contains(compared.out, "10 of 10 cells judged: 10 same"));
}

TEST_CASE("run_eval: GPTQ of another version or order than its files say is told, and no other") {
  const RunEvalLab lab;
  ExportGptq(lab);
  const Strings right = {"rtn", "sym", "ordered", "folded", "v1"},
                wrong = {"not_v1", "not_v2", "lost", "not_folded"};
  CopyAsVersion(lab / "tiny-rtn", lab / "tiny-not_v1", "gptq");
  CopyAsVersion(lab / "tiny-rtn", lab / "tiny-not_v2", "gptq_v2");
  StoreZerosLessOne(lab / "tiny-not_v2");
  CopyAsVersion(lab / "tiny-not_v2", lab / "tiny-v1", "gptq");
  CopyWithoutOrder(lab / "tiny-ordered", lab / "tiny-lost");
  CopyAsVersion(lab / "tiny-folded", lab / "tiny-not_folded", "gptq");
  fs::remove_all(lab.records());
  Strings arguments = {lab.config(), "--set", "quantize.methods=[]", "--windows", "2"};
  for (const Strings& labels : {right, wrong}) {
    for (const std::string& label : labels)
      arguments.insert(arguments.end(), {"--candidate", label + "=tiny-" + label});
  }
  const ProcessResult result = lab.Run(arguments);
  testing::CheckDone(result);
  for (const std::string& label : right) {
    CHECK(NoteOf(lab.Record(label), "MISREAD") == "");
    CHECK(NoteOf(lab.Record(label), "no roundings of") == "");
    for (const RecordJson& note : lab.Record(label)["candidate"]["notes"])
      CHECK_FALSE(note.contains("doubtful"));
  }
  CHECK(lab.Record("v1")["accuracy"]["window_nll"] == lab.Record("rtn")["accuracy"]["window_nll"]);
  const auto told = [&](const char* label, const char* other, const char* own) {
    const std::string note = NoteOf(lab.Record(label), "MISREAD");
    INFO(note);
    CHECK(Contains(note, std::string("as ") + own + " their relative squared error is 0."));
    CHECK(Contains(note, std::string("with checkpoint_format ") + other + " it would be 0.0"));
    CHECK(Contains(note, "\"count\":14"));
  };
  told("not_v1", "gptq_v2", "gptq v1");
  told("not_v2", "gptq", "gptq v2");
  // Scales in norms hide it no more than they are taken for it.
  const RecordJson folded = lab.Record("not_folded");
  CHECK(folded["candidate"]["changed_norms"] > 0);
  CHECK(Contains(NoteOf(folded, "MISREAD"), "with checkpoint_format gptq_v2 it would be"));
  CHECK(Contains(result.out, "not_v1: NUMBERS IN DOUBT: "));
  CHECK(NoteOf(lab.Record("lost"), "MISREAD") == "");
  CHECK(NoteOf(lab.Record("lost"), "no roundings of") != "");
  CheckStamped(lab, right, wrong);
  CheckScheme(lab);
}

}  // namespace
}  // namespace quantref
