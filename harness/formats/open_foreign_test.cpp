#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/formats/formats_testing.h"
#include "harness/io/file.h"

// What every reader refuses, and that none trusts a byte.

namespace quantref {
namespace {

using testing::ForeignFiles;
using testing::ForeignGolden;
using testing::GoldenKinds;
using testing::ReadForeign;
using testing::TempDir;

// The message for the golden with something changed.
template <typename Change>
std::string ErrorOf(const std::string& kind, const Change& change) {
  INFO(kind);
  ForeignGolden golden(kind);
  change(golden);
  return testing::ErrorMessage([&] { ReadForeign read(golden); });
}

template <typename Change>
void CheckRefused(const std::string& kind, const Change& change,
                  std::initializer_list<std::string_view> parts) {
  const std::string message = ErrorOf(kind, change);
  INFO(kind << ": " << message);
  CHECK(testing::MissingPart(message, parts) == "");
}

TEST_CASE("open_foreign: a plain folder has no reader, and older files of settings do") {
  ForeignGolden golden("gptq4_v1_sym");
  const nlohmann::json settings = golden.settings();
  golden.config.erase("quantization_config");
  const ForeignFiles plain(golden);
  CHECK(plain.opened == nullptr);
  nlohmann::json own = settings;
  own.erase("quant_method");
  testing::WriteFile(plain.dir / "quantize_config.json", own.dump());
  const auto opened = OpenForeign(plain.dir.path(), Checkpoint::Open(plain.dir.path()));
  REQUIRE(opened != nullptr);
  CHECK(opened->format() == "gptq v1");
  CHECK(opened->promised_bits() == 4);
}

// What is told of the golden with another file of settings beside config.json.
std::vector<CountedNote> NotesBeside(const ForeignGolden& golden, const char* file,
                                     const nlohmann::json& own) {
  const ForeignFiles files(golden);
  testing::WriteFile(files.dir / file, own.dump());
  std::vector<CountedNote> notes;
  OpenForeign(files.dir.path(), Checkpoint::Open(files.dir.path()))->Others(notes);
  std::erase_if(notes,
                [&](const CountedNote& note) { return !testing::Contains(note.what, file); });
  return notes;
}

constexpr char kGptqFile[] = "quantize_config.json", kAwqFile[] = "quant_config.json";

TEST_CASE("open_foreign: an older file of settings that says otherwise is told") {
  const ForeignGolden gptq("gptq4_v1_sym"), awq("awq_gemm");
  CHECK(
      NotesBeside(gptq, kGptqFile,
                  {{"bits", 4}, {"model_name_or_path", "x"}, {"damp_percent", 7}, {"sym", nullptr}})
          .empty());
  const std::vector<CountedNote> told =
      NotesBeside(gptq, kGptqFile, {{"bits", 8}, {"sym", true}, {"desc_act", true}});
  REQUIRE(told.size() == 2);
  CHECK(testing::MissingPart(told[0].what, {"\"bits\" is 8 in quantize_config.json",
                                            "is 4 in config.json, which holds"}) == "");
  CHECK(told[0].grade == NoteGrade::kTold);  // the shapes say which it is
  CHECK(testing::Contains(told[1].what, "\"desc_act\" is true"));
  CHECK(NotesBeside(awq, kAwqFile, {{"version", "GEMM"}}).empty());
  const std::vector<CountedNote> version = NotesBeside(awq, kAwqFile, {{"version", "GEMV"}});
  REQUIRE(version.size() == 1);
  CHECK(version[0].grade == NoteGrade::kTold);
}

TEST_CASE("open_foreign: an older file's settings are the same by another tool's names") {
  const std::vector<CountedNote> bits =
      NotesBeside(ForeignGolden("awq_gemm"), kAwqFile, {{"w_bit", 3}});
  REQUIRE(bits.size() == 1);
  CHECK(testing::MissingPart(bits[0].what, {"\"w_bit\" is 3", "and \"bits\" 4 in config.json"}) ==
        "");
  ForeignGolden gptq("gptq4_v1_sym");
  gptq.settings().erase("format");
  gptq.settings()["checkpoint_format"] = "gptq";
  const std::vector<CountedNote> version = NotesBeside(gptq, kGptqFile, {{"format", "gptq_v2"}});
  REQUIRE(version.size() == 1);
  CHECK(version[0].grade == NoteGrade::kDoubt);  // nothing else tells the version
  CHECK(NotesBeside(gptq, kGptqFile, {{"format", "gptq"}}).empty());
}

TEST_CASE("open_foreign: what config.json does not say is taken from the older file, and told") {
  ForeignGolden golden("gptq4_v2_act_order");
  const std::vector<float> values = testing::ValuesOf(ReadForeign(golden).weight);
  golden.settings().erase("format");
  golden.settings().erase("checkpoint_format");
  const ForeignFiles files(golden);
  CHECK(files.opened->format() == "gptq v1");
  std::vector<CountedNote> silent;
  files.opened->Others(silent);
  REQUIRE(silent.size() == 1);
  CHECK(testing::Contains(silent[0].what, "no checkpoint_format says its version"));
  testing::WriteFile(files.dir / kGptqFile, R"({"checkpoint_format": "gptq_v2"})");
  std::optional<InputFile> used;
  const auto opened = OpenForeign(files.dir.path(), Checkpoint::Open(files.dir.path()), &used);
  CHECK(opened->format() == "gptq v2");
  REQUIRE(used);
  CHECK(used->path() == files.dir / kGptqFile);
  std::vector<CountedNote> notes;
  const auto matrix = opened->Find(testing::kMatrix, golden.rows(), golden.cols());
  REQUIRE(matrix);
  CHECK(testing::ValuesOf(matrix->read(notes)) == values);
  opened->Others(notes);
  REQUIRE_FALSE(notes.empty());
  CHECK(testing::Contains(notes.back().what, "\"checkpoint_format\" is \"gptq_v2\", from"));
  // It is read as any setting is.
  testing::WriteFile(files.dir / kGptqFile, R"({"format": "marlin"})");
  CHECK_ERROR(OpenForeign(files.dir.path(), Checkpoint::Open(files.dir.path())),
              "config.json, quantization_config with quantize_config.json", "marlin");
}

TEST_CASE("open_foreign: a file of settings beside others is of its method, and can be read") {
  const ForeignGolden awq("awq_gemm");
  CHECK(NotesBeside(awq, kGptqFile, {{"quant_method", "awq"}, {"bits", 4}}).empty());
  CHECK(NotesBeside(awq, kGptqFile, {{"quant_method", "awq"}, {"bits", 8}}).size() == 1);
  const std::vector<CountedNote> other = NotesBeside(awq, kGptqFile, {{"bits", 8}});
  REQUIRE(other.size() == 1);
  CHECK(testing::MissingPart(other[0].what, {"is of the method \"gptq\"", "says \"awq\""}) == "");
  const ForeignFiles files(awq);
  for (const char* bad : {"{\"bits\": 4,", "[1]"}) {
    testing::WriteFile(files.dir / kAwqFile, bad);
    CHECK_ERROR(OpenForeign(files.dir.path(), Checkpoint::Open(files.dir.path())), kAwqFile,
                "config.json has settings, too", "move it away");
  }
}

TEST_CASE("open_foreign: settings may stand in the part of the text") {
  ForeignGolden golden("awq_gemm");
  const std::vector<float> values = testing::ValuesOf(ReadForeign(golden).weight);
  golden.config = {{"text_config", golden.config}};
  const ReadForeign read(golden);
  CHECK(testing::ValuesOf(read.weight) == values);
  CHECK(SaysForeign(read.files.dir.path()));
  golden.config["text_config"]["quantization_config"]["bits"] = 3;
  CHECK_ERROR(ReadForeign(golden), "config.json, text_config, quantization_config", "\"bits\"");
}

TEST_CASE("open_foreign: what an adapter adds is not left out in silence") {
  const ForeignFiles files(ForeignGolden("awq_gemm"));
  testing::WriteFile(files.dir / "adapter_config.json", "{}");
  const std::string message = testing::ErrorMessage(
      [&] { OpenForeign(files.dir.path(), Checkpoint::Open(files.dir.path())); });
  CHECK(testing::MissingPart(message, {"adapter_config.json", "an adapter beside"}) == "");
}

TEST_CASE("open_foreign: unknown methods are refused by name") {
  CheckRefused("gptq4_v1_sym", [](auto& g) { g.settings()["quant_method"] = "quip"; },
               {"config.json", "not supported", "\"quip\"", "awq", "compressed-tensors"});
  CheckRefused("gptq4_v1_sym", [](auto& g) { g.settings() = 4; }, {"expected an object"});
  CheckRefused("gptq4_v1_sym",
               [](auto& g) {
                 g.config["compression_config"] = g.settings();
                 g.config.erase("quantization_config");
               },
               {"compression_config"});
}

TEST_CASE("open_foreign: matrices that are plain are no reader's") {
  for (const char* kind : {"gptq4_v1_sym", "awq_gemm", "bnb_nf4", "bnb_int8", "fp8_tensor"}) {
    INFO(kind);
    ForeignGolden golden(kind);
    golden.tensors.clear();
    golden.tensors[std::string(testing::kMatrix) + ".weight"] = {"F16", {1, 2}, "abcd"};
    const ForeignFiles files(golden);
    CHECK_FALSE(files.opened->Find(testing::kMatrix, 1, 2));
  }
}

TEST_CASE("open_foreign: codes of a module that is to stay as it is are refused") {
  for (const auto& [kind, key] : {std::pair{"awq_gemm", "modules_to_not_convert"},
                                  std::pair{"bnb_nf4", "llm_int8_skip_modules"},
                                  std::pair{"fp8_tensor", "modules_to_not_convert"},
                                  std::pair{"fp8_tensor", "ignored_layers"}}) {
    for (const char* module : {testing::kMatrix, "q_proj"}) {
      CHECK(testing::Contains(testing::Refusal(kind, key, nlohmann::json::array({module})),
                              "plain numbers, as " + std::string(key) + " has"));
    }
    ForeignGolden golden(kind);
    golden.settings()[key] = {"proj", "self_attn", "lm_head", ""};
    CHECK_NOTHROW(ReadForeign(golden));
  }
}

// Tensor by tensor: missing, of another shape, of another type.
TEST_CASE("open_foreign: tensors that are missing or lie are refused by name") {
  for (const std::string& kind : GoldenKinds()) {
    const ForeignGolden whole(kind);
    for (const auto& [name, tensor] : whole.tensors) {
      const bool may_be_missing = name.ends_with("g_idx") || name.ends_with("weight_format");
      INFO(kind << " " << name);
      const std::string& changed = name;
      if (!may_be_missing) {
        const std::string missing =
            ErrorOf(kind, [&](ForeignGolden& g) { g.tensors.erase(changed); });
        // Without its settings, a matrix of bitsandbytes could be of either kind.
        CHECK(testing::MissingPart(missing, {"expected", "found none"}) == "");
      }
      CheckRefused(kind,
                   [&](ForeignGolden& g) {
                     testing::FileTensor& t = g.tensors.at(changed);
                     t.shape.insert(t.shape.begin(), 2);
                     t.bytes += t.bytes;
                   },
                   {name.find("quant_state") != std::string::npos ? "quant_state" : name, "found"});
      CheckRefused(kind,
                   [&](ForeignGolden& g) {
                     testing::FileTensor& t = g.tensors.at(changed);
                     t.dtype = "BOOL";
                     t.shape = {t.bytes.size()};
                   },
                   {name, "found BOOL"});
    }
  }
}

TEST_CASE("open_foreign: a matrix of another size than the model's is refused") {
  for (const std::string& kind : GoldenKinds()) {
    INFO(kind);
    const ForeignGolden golden(kind);
    const ForeignFiles files(golden);
    for (const auto& [rows, cols] : {std::pair{golden.rows(), golden.cols() * 2},
                                     std::pair{golden.rows() * 2, golden.cols()}}) {
      const std::string message = testing::ErrorMessage(
          [&, r = rows, c = cols] { files.opened->Find(testing::kMatrix, r, c); });
      CHECK(testing::MissingPart(message, {testing::kMatrix, "expected", "found"}) == "");
    }
  }
}

// Whatever bytes change, a reader answers: with an Error, or with numbers.
TEST_CASE("open_foreign: changed bytes give an error or numbers") {
  for (const std::string& kind : GoldenKinds()) {
    const ForeignGolden whole(kind);
    uint32_t random = 12345;
    const auto next = [&random] { return random = random * 1664525u + 1013904223u, random >> 8; };
    for (const auto& [name, tensor] : whole.tensors) {
      for (int i = 0; i < 6; ++i) {
        ForeignGolden golden = whole;
        std::string& bytes = golden.tensors.at(name).bytes;
        bytes[next() % bytes.size()] = static_cast<char>(next());
        try {
          const ReadForeign read(golden);
          for (const float value : testing::ValuesOf(read.weight)) REQUIRE_FALSE(std::isnan(value));
        } catch (const Error&) {
        }
      }
    }
  }
}

TEST_CASE("open_foreign: scales that are no numbers are refused") {
  const auto first = [](const char* part, auto number) {
    return [=](ForeignGolden& g) { *g.numbers<decltype(number)>(part) = number; };
  };
  constexpr uint16_t kHalfNan = 0x7e00, kHalfInfinity = 0x7c00;
  CheckRefused("gptq4_v1_asym", first("scales", kHalfNan), {"scales", "finite", "nan"});
  CheckRefused("awq_gemm", first("scales", kHalfInfinity), {"scales", "finite", "inf"});
  CheckRefused("ct_pack4_asym", first("weight_scale", kHalfNan), {"weight_scale", "finite"});
  CheckRefused("ct_fp8_block", first("weight_scale", uint16_t{0x7fc0}), {"weight_scale", "nan"});
  CheckRefused("ct_fp8_channel", first("weight", uint8_t{0x7f}), {"weight", "that are none"});
  CheckRefused("ct_nvfp4", first("weight_scale", uint8_t{0xff}), {"weight_scale", "finite"});
  CheckRefused("ct_nvfp4", first("weight_global_scale", 0.0f), {"a positive number", "found 0"});
  CheckRefused("ct_mxfp4", first("weight_scale", uint8_t{255}), {"weight_scale", "finite"});
  CheckRefused("ct_int8_static", first("input_scale", -1.0f), {"input_scale", "positive"});
  CheckRefused("bnb_nf4", first("weight.absmax", testing::kNan), {"absmax", "finite"});
  CheckRefused("bnb_nf4_run_on", first("weight.absmax", testing::kNan), {"absmax", "finite"});
  CheckRefused("bnb_int8", first("SCB", -1.0f), {"SCB", "found -1"});
}

// Of tables of levels, whose packed form here has no negative scales.
TEST_CASE("open_foreign: negative scales are decoded and counted") {
  struct Case {
    const char *kind, *part;
    size_t last;  // byte of the first scale, which has its sign
  };
  const std::vector<Case> cases = {{"bnb_nf4", "weight.absmax", 3},
                                   {"bnb_fp4", "weight.absmax", 3},
                                   {"ct_nvfp4", "weight_scale", 0}};
  for (const Case& one : cases) {
    INFO(one.kind);
    ForeignGolden golden(one.kind);
    const ReadForeign whole(golden);
    REQUIRE(whole.weight.packed() != nullptr);
    const size_t group = whole.weight.packed()->scheme().group;
    std::vector<float> expected = testing::ValuesOf(whole.weight);
    for (size_t c = 0; c < group; ++c) expected[c] = -expected[c] + 0.0f;
    char& sign = golden.at(one.part).bytes[one.last];
    sign = static_cast<char>(sign | '\x80');
    const ReadForeign negative(golden);
    CHECK(negative.weight.packed() == nullptr);
    CHECK(testing::ValuesOf(negative.weight) == expected);
    CHECK(negative.NoteCount("negative scale") == 1);
    CHECK(negative.NoteCount("decoded by rows") == 1);
    CHECK(negative.weight.CodesSha256() != whole.weight.CodesSha256());
    CHECK(negative.weight.StorageBits() > 0);
  }
}

// Of other blocks than a packed form has, or under a negative scale.
TEST_CASE("open_foreign: the hashes of rows that decode stay, whatever tables call them") {
  struct Case {
    const char *kind, *negated;  // "": as it is
    size_t last;                 // byte of the scale
    const char* hash;            // by Python's hashlib, of the form, the shape and the bytes
  };
  const std::vector<Case> cases = {
      {"bnb_nf4_run_on", "", 0, "41303cfd6831fd367e286ae5eac40a342a46ed3338f37980933f6414d47f2f40"},
      {"bnb_nf4_nested_run_on", "", 0,
       "ce615a6ea28a47d2301b90b40a8fe7564f1b3311dae6719491439a7651eac701"},
      {"bnb_int8", "", 0, "80665e0289ad397c7938723408ed5821ace52f337843f9623bb5aa817d2cc561"},
      {"fp8_block", "", 0, "73d8caee63bc5c18cfffb7ac0ba5e0578d67037d62cd68a7b6dab7e0d71baea5"},
      {"ct_fp8_block", "", 0, "604c3b7174a21bb67a9905159d6bb6dc54344d77528cbcf91ebd53549e322402"},
      {"bnb_nf4", "weight.absmax", 3,
       "27fb5ecfd67a765ecf58faf013707385fa095ba8a1cc445dbd446645ce0508fe"},
      {"ct_nvfp4", "weight_scale", 0,
       "b9c2ed9e1fb6e07f244dc94b5f0589dad1fca3c464c7ea6f4bf2dfe61a9823f6"},
      {"fp8_tensor", "weight_scale_inv", 3,
       "55974e723e992e1cdff3c76faff3d42dd7db579483b1419ac40126f6f71aef4d"},
      {"gptq4_v1_asym", "scales", 1,
       "323f05c697de311fbb07c2f80468b4f1d86e2fda8467944281b10175c294078b"},
      {"awq_gemm", "scales", 1,
       "a9c3bd336c2d54f73798f4d113e3f9c4fef25cccb2a6c57f8453d02c7f2deec0"}};
  for (const Case& one : cases) {
    CAPTURE(one.kind);
    ForeignGolden golden(one.kind);
    if (*one.negated != 0) golden.at(one.negated).bytes[one.last] ^= '\x80';
    const ReadForeign read(golden);
    REQUIRE(read.weight.packed() == nullptr);
    CHECK(read.weight.CodesSha256() == one.hash);
  }
}

TEST_CASE("open_foreign: whether a folder says that its weights are codes") {
  const ForeignFiles files(ForeignGolden("awq_gemm"));
  CHECK(SaysForeign(files.dir.path()));
  ForeignGolden golden("awq_gemm");
  golden.config.erase("quantization_config");
  const ForeignFiles plain(golden);
  CHECK_FALSE(SaysForeign(plain.dir.path()));
  testing::WriteFile(plain.dir / "quant_config.json", "{}");
  CHECK(SaysForeign(plain.dir.path()));
  CHECK_FALSE(SaysForeign(plain.dir / "nowhere"));
  CHECK_FALSE(SaysForeign(plain.dir / "model.gguf"));
}

}  // namespace
}  // namespace quantref
