// Models in GGUF files, from the file to the record, and scripts/fetch_model.

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/testing/archive.h"
#include "eval/testing/process.h"
#include "eval/testing/run_eval_lab.h"
#include "harness/base/sha256.h"
#include "harness/testing/tiny_gguf.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ProcessResult;
using testing::RunEvalLab;
using testing::WriteFile;

constexpr uint32_t kQ4_1Blocks = 3;

const testing::TinyModel kGgufShape{
    .hidden = 64, .intermediate = 96, .vocab = testing::kLetterPieces, .context = 64, .tied = true};

std::string Sentence(size_t characters) {
  std::string text;
  for (size_t i = 0; text.size() < characters; ++i) text += "the quick brown fox and so on ";
  return text.substr(0, characters);
}

ProcessResult MeasureGguf(const RunEvalLab& lab, testing::GgufBuilder file,
                          const std::vector<std::string>& more = {}) {
  testing::AddLetterTokenizer(file);
  file.Write(lab / "tiny.gguf");
  WriteFile(lab / "text.txt", Sentence(600));
  std::vector<std::string> arguments = {lab.config(),
                                        "--set",
                                        "model=tiny.gguf",
                                        "--set",
                                        "quantize.weights.group=32",
                                        "--set",
                                        "quantize.methods=[rtn]",
                                        "--set",
                                        "accuracy.protocol=llamacpp-16"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return lab.Run(arguments);
}

TEST_CASE("run_eval: a GGUF file is a reference of what it stores, and says so") {
  const RunEvalLab lab;
  const ProcessResult result =
      MeasureGguf(lab, testing::TinyGgufOfBlocks(kGgufShape, kQ4_1Blocks, 3));
  testing::CheckDone(result);
  CHECK(Contains(result.out, "reference is a QUANTIZED file, decoded (Q4_1; 5.00 bits a weight)"));
  const testing::RecordJson record = lab.Record("rtn");
  const auto& model = record["model"];
  CHECK(model["name"] == "tiny.gguf");
  CHECK(model["decoded"] == true);
  CHECK(model["sha256"] == Sha256Hex(testing::FileText(lab / "tiny.gguf")));
  CHECK(model["gguf"]["architecture"] == "llama");
  CHECK(model["gguf"]["bits"] == 5);
  CHECK(model["gguf"]["layer_bits"] == nlohmann::json({5.0, 5.0}));
  REQUIRE(model["gguf"]["types"].size() == 1);
  CHECK(model["gguf"]["types"][0]["name"] == "Q4_1");
  CHECK(model["gguf"]["types"][0]["matrices"] == 15);
  CHECK(lab.Record("fp32")["model"] == model);
}

TEST_CASE("run_eval: of a GGUF file nothing is decoded while it is timed, its head neither") {
  const testing::GgufBuilder file = testing::TinyGgufOfBlocks(kGgufShape, kQ4_1Blocks, 3);
  for (const std::string dtype : {"native", "fp16"}) {
    const RunEvalLab lab;
    testing::CheckDone(
        MeasureGguf(lab, file,
                    {"--set", "model={name: tiny.gguf, dtype: " + dtype + "}", "--set",
                     "throughput={kernels: false, prefill: 0, decode: 2, repetitions: 2}"}));
    const testing::RecordJson speed = lab.Record("fp16")["throughput"];
    CHECK_FALSE(speed.contains("decoded_each_call"));
    CHECK(speed.contains("fp16_copy") == (dtype == "native"));
  }
}

TEST_CASE("run_eval: a GGUF file of plain numbers is the model itself") {
  const RunEvalLab lab;
  const ProcessResult result = MeasureGguf(lab, testing::TinyGguf(kGgufShape));
  testing::CheckDone(result);
  CHECK_FALSE(Contains(result.out, "QUANTIZED file"));
  CHECK_FALSE(lab.Record("rtn")["model"].contains("decoded"));
  CHECK(lab.Record("rtn")["model"]["gguf"]["stored"] == "F32; 32.00 bits a weight");
}

TEST_CASE("run_eval: a GGUF file that cannot be used is refused in one message") {
  const RunEvalLab lab;
  const auto refusal = [&](const std::string& bytes) {
    WriteFile(lab / "bad.gguf", bytes);
    const ProcessResult result = lab.Run({lab.config(), "--set", "model=bad.gguf"});
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, "bad.gguf"));
    return result.err;
  };
  CHECK(Contains(refusal("GGUF"), "cut short"));
  CHECK(Contains(refusal(testing::GgufBuilder().Text("general.architecture", "rwkv6").Bytes()),
                 "\"rwkv6\" is not supported"));
  CHECK(Contains(refusal(testing::TinyGguf(kGgufShape).Bytes()), "tokenizer.ggml.model"));
}

// A model of two parts, each a member of an archive.
struct FetchLab {
  testing::TempDir dir;
  std::string contents = Sentence(5000);
  nlohmann::json models;  // the list

  FetchLab() {
    nlohmann::json model = {{"about", "a test"},
                            {"licence", "a licence"},
                            {"file", "m.gguf"},
                            {"bytes", contents.size()},
                            {"sha256", Sha256Hex(contents)},
                            {"parts", nlohmann::json::array()}};
    for (const size_t part : {0, 1}) {
      const std::string name = "p" + std::to_string(part) + ".whl";
      const std::string zip = testing::MakeZip({{"data/x", contents.substr(part * 2500, 2500)}});
      WriteFile(dir / ("from/" + name), zip);
      model["parts"].push_back({{"url", "http://127.0.0.1:9/" + name},
                                {"bytes", zip.size()},
                                {"sha256", Sha256Hex(zip)},
                                {"member", "data/x"}});
    }
    models["tiny"] = model;
    WriteFile(dir / "list.json", models.dump());
  }
  ProcessResult Fetch(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all = {(testing::SourceDir() / "scripts/fetch_model").string(),
                                    "--list", (dir / "list.json").string()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return testing::RunProcess(all,
                               {.environment = {{"XDG_CACHE_HOME", (dir / "cache").string()}}});
  }
  fs::path target() const { return dir / "cache/quantref/models/tiny/m.gguf"; }
  size_t FilesThere() const {
    size_t files = 0;
    for (const auto& entry : fs::recursive_directory_iterator(dir / "cache"))
      files += entry.is_regular_file();
    return files;
  }
  // The list with another value there.
  std::string Patched(const char* pointer, const nlohmann::json& value) const {
    nlohmann::json list = models;
    list[nlohmann::json::json_pointer(pointer)] = value;
    return list.dump();
  }
};

TEST_CASE("fetch_model: parts are put together where models are looked for") {
  const FetchLab lab;
  const std::string from = (lab.dir / "from").string();
  const ProcessResult fetched = lab.Fetch({"tiny", "--from", from});
  INFO(fetched.err);
  CHECK(fetched.exit_code == 0);
  CHECK(Contains(fetched.out, "a licence"));
  CHECK(testing::FileText(lab.target()) == lab.contents);
  CHECK(lab.FilesThere() == 1);
  CHECK(Contains(lab.Fetch({"tiny"}).out, "already there"));  // nothing is asked of the network
  WriteFile(lab.target(), "damaged");
  CHECK(lab.Fetch({"tiny", "--from", from}).exit_code == 0);
  CHECK(testing::FileText(lab.target()) == lab.contents);
}

TEST_CASE("fetch_model: what fails leaves nothing, and says why once") {
  const FetchLab lab;
  const auto fails = [&](const std::vector<std::string>& arguments, const std::string& part) {
    const ProcessResult result = lab.Fetch(arguments);
    INFO(result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, part));
    CHECK_FALSE(Contains(result.err, "Traceback"));
    CHECK_FALSE(fs::exists(lab.target().parent_path()));
  };
  fails({"tiny"}, "may be offline");
  fails({"none"}, "known are tiny");
  fails({"tiny", "--from", (lab.dir / "nowhere").string()}, "No such file");
  WriteFile(lab.dir / "list.json", lab.Patched("/tiny/parts/1/member", "data/y"));
  fails({"tiny", "--from", (lab.dir / "from").string()}, "an archive with 'data/y'");
  WriteFile(lab.dir / "list.json", lab.models.dump());
  std::string second = testing::FileText(lab.dir / "from/p1.whl");
  second[second.size() / 2] ^= 1;
  WriteFile(lab.dir / "from/p1.whl", second);
  fails({"tiny", "--from", (lab.dir / "from").string()}, "expected SHA-256");
  WriteFile(lab.dir / "from/p1.whl", second + "x");
  fails({"tiny", "--from", (lab.dir / "from").string()}, "bytes, found");
}

TEST_CASE("fetch_model: a list that is none is refused by what it lacks") {
  const FetchLab lab;
  const auto refused = [&](const std::string& list, const std::string& part) {
    WriteFile(lab.dir / "list.json", list);
    const ProcessResult result = lab.Fetch({"tiny"});
    INFO(result.err);
    CHECK(result.exit_code == 2);
    CHECK(Contains(result.err, part));
    CHECK(Contains(result.err, "the form of harness/reference/fetchable.json"));
    CHECK_FALSE(Contains(result.err, "Traceback"));
  };
  refused(R"({"tiny": {"about")", "list.json");
  refused("\xff", "list.json");
  refused(std::string(100'000, '['), "list.json");
  refused("[]", "expected an object of models, found list");
  refused(R"({"tiny": 3})", "tiny: expected an object, found int");
  refused(R"({"tiny": {}})", "tiny: about is missing");
  refused(lab.Patched("/tiny/bytes", "many"), "tiny: bytes: expected int, found str");
  refused(lab.Patched("/tiny/parts/1", nlohmann::json::object()), "parts[1]: url is missing");
  refused(lab.Patched("/tiny/parts", nlohmann::json::array()), "parts: expected one or more");
  refused(lab.Patched("/tiny/parts/0/url", "http://127.0.0.1/.."), "parts[0]: url: expected");
  refused(lab.Patched("/tiny/parts/0/url", "p0.whl"), "parts[0]: url: expected an address");
  refused(lab.Patched("/tiny/parts/0/url", "http://127.0.0.1/"), "parts[0]: url: expected");
  refused(lab.Patched("/tiny/parts/0/url", "http://127.0.0.1:x/p0.whl"), "parts[0]: url: expected");
  refused(lab.Patched("/tiny/parts/0/bytes", 0), "parts[0]: bytes: expected 1 or more");
  refused(lab.Patched("/tiny/sha256", "abc"), "tiny: sha256: expected 64 digits");
  for (const char* name : {"../m.gguf", "", ".", "a/b"})
    refused(lab.Patched("/tiny/file", name), "tiny: file: expected a plain name");
  refused(lab.Patched("/..~1x", lab.models["tiny"]), "expected a plain name of a model");
}

}  // namespace
}  // namespace quantref
