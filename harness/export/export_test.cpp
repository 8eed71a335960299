#include "harness/export/export.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/export/export_testing.h"
#include "harness/formats/open_foreign.h"
#include "harness/io/gguf.h"
#include "harness/io/gguf_names.h"
#include "harness/model/load_model.h"
#include "harness/model/model_testing.h"
#include "harness/quant/format.h"
#include "harness/quant/ggml_matrix.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CellChoice;
using testing::CellToTest;
using testing::ExportableModel;

WeightScheme IntScheme(int bits, size_t group, bool symmetric, bool second = false) {
  WeightScheme scheme{.bits = bits, .group = group, .symmetric = symmetric};
  if (group == 0) scheme.granularity = Granularity::kRow;
  (symmetric ? scheme.full_range : scheme.zero_in_range) = symmetric ? second : !second;
  return scheme;
}

// What a slow reader makes of a matrix NAME in the checkpoint, where `scheme` says what it cannot.
using SlowReader = PackedMatrix (*)(const Checkpoint& file, const std::string& name,
                                    const PackedMatrix& original);

PackedMatrix LikeOriginal(const PackedMatrix& original) {
  PackedMatrix packed(original.rows(), original.cols(), original.scheme());
  packed.set_exponent(original.exponent());
  return packed;
}

std::vector<std::vector<uint8_t>> NoCodes(const PackedMatrix& packed) {
  return std::vector<std::vector<uint8_t>>(packed.rows(), std::vector<uint8_t>(packed.cols()));
}

PackedMatrix FromPackQuantized(const Checkpoint& file, const std::string& name,
                               const PackedMatrix& original) {
  PackedMatrix packed = LikeOriginal(original);
  const int bits = packed.scheme().bits, middle = 1 << (bits - 1);
  const Tensor& words = file.Get(name + ".weight_packed");
  const Tensor& scales = file.Get(name + ".weight_scale");
  const auto* shape = reinterpret_cast<const int64_t*>(file.Get(name + ".weight_shape").data);
  CHECK(static_cast<size_t>(shape[0]) == packed.rows());
  CHECK(static_cast<size_t>(shape[1]) == packed.cols());
  CHECK(words.dtype == DType::kI32);
  auto codes = NoCodes(packed);
  for (size_t r = 0; r < packed.rows(); ++r) {
    for (size_t c = 0; c < packed.cols(); ++c)
      codes[r][c] = testing::CodeAt(words, r * words.shape[1], 1, c, bits);
  }
  const Tensor* zeros = file.Find(name + ".weight_zero_point");
  const size_t groups = packed.scale_cols();
  for (size_t r = 0; r < packed.scale_rows(); ++r) {
    for (size_t g = 0; g < groups; ++g) {
      const int zero = zeros == nullptr ? middle : testing::CodeAt(*zeros, g, groups, r, bits);
      packed.set_affine(r, g, {testing::NumberIn(scales, r * groups + g), zero});
    }
  }
  testing::SetByColumn(nullptr, codes, packed);
  return packed;
}

PackedMatrix FromIntQuantized(const Checkpoint& file, const std::string& name,
                              const PackedMatrix& original) {
  PackedMatrix packed = LikeOriginal(original);
  const int middle = 1 << (packed.scheme().bits - 1);
  const Tensor& weight = file.Get(name + ".weight");
  const Tensor& scales = file.Get(name + ".weight_scale");
  const Tensor* zeros = file.Find(name + ".weight_zero_point");
  CHECK(weight.dtype == DType::kI8);
  const auto signed_at = [](const Tensor& tensor, size_t i) {
    return static_cast<int>(reinterpret_cast<const int8_t*>(tensor.data)[i]);
  };
  auto codes = NoCodes(packed);
  for (size_t r = 0; r < packed.rows(); ++r) {
    for (size_t c = 0; c < packed.cols(); ++c)
      codes[r][c] = static_cast<uint8_t>(signed_at(weight, r * packed.cols() + c) + middle);
  }
  for (size_t r = 0; r < packed.scale_rows(); ++r) {
    for (size_t g = 0; g < packed.scale_cols(); ++g) {
      const size_t at = r * packed.scale_cols() + g;
      packed.set_affine(r, g,
                        {testing::NumberIn(scales, at),
                         zeros == nullptr ? middle : signed_at(*zeros, at) + middle});
    }
  }
  testing::SetByColumn(nullptr, codes, packed);
  return packed;
}

PackedMatrix FromGptq(const Checkpoint& file, const std::string& name,
                      const PackedMatrix& original) {
  PackedMatrix packed = LikeOriginal(original);
  const int bits = packed.scheme().bits;
  const Tensor& words = file.Get(name + ".qweight");
  const Tensor& zeros = file.Get(name + ".qzeros");
  const size_t rows = packed.rows();
  CHECK(words.shape[1] == rows);
  auto codes = NoCodes(packed);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < packed.cols(); ++c)
      codes[r][c] = testing::CodeAt(words, r, rows, c, bits);
    for (size_t g = 0; g < packed.scale_cols(); ++g) {
      const int zero = testing::CodeAt(zeros, g * zeros.shape[1], 1, r, bits);
      packed.set_affine(r, g, {testing::NumberIn(file.Get(name + ".scales"), g * rows + r), zero});
    }
  }
  testing::SetByColumn(&file.Get(name + ".g_idx"), codes, packed);
  return packed;
}

PackedMatrix FromAwq(const Checkpoint& file, const std::string& name,
                     const PackedMatrix& original) {
  constexpr size_t kColumnOfNibble[] = {0, 2, 4, 6, 1, 3, 5, 7};
  PackedMatrix packed = LikeOriginal(original);
  const Tensor& words = file.Get(name + ".qweight");
  const Tensor& zeros = file.Get(name + ".qzeros");
  const size_t rows = packed.rows();
  auto codes = NoCodes(packed);
  std::vector<std::vector<int>> zero(rows, std::vector<int>(packed.scale_cols()));
  for (size_t word = 0; word < rows / 8; ++word) {
    for (size_t nibble = 0; nibble < 8; ++nibble) {
      const size_t r = 8 * word + kColumnOfNibble[nibble];
      for (size_t c = 0; c < packed.cols(); ++c)
        codes[r][c] = testing::CodeAt(words, c * rows / 8 + word, 1, nibble, 4);
      for (size_t g = 0; g < packed.scale_cols(); ++g)
        zero[r][g] = testing::CodeAt(zeros, g * rows / 8 + word, 1, nibble, 4);
    }
  }
  for (size_t r = 0; r < rows; ++r) {
    for (size_t g = 0; g < packed.scale_cols(); ++g) {
      packed.set_affine(r, g,
                        {testing::NumberIn(file.Get(name + ".scales"), g * rows + r), zero[r][g]});
    }
  }
  testing::SetByColumn(nullptr, codes, packed);
  return packed;
}

// Every quantized matrix comes back with its hash, by the slow reader and by the one that is there,
// every other tensor as it was.
void CheckReadBack(const CellToTest& cell, const char* format, SlowReader reader) {
  const fs::path folder = cell.Export(format);
  const auto file = Checkpoint::Open(folder);
  const auto foreign = OpenForeign(folder, file);
  REQUIRE(foreign != nullptr);
  std::vector<CountedNote> notes;
  for (const Linear* linear : AllLinears(cell.weights())) {
    INFO(format << ": " << linear->name);
    const bool head = linear->name == "lm_head";
    const std::string name = (head ? "" : "model.") + linear->name;
    if (!linear->weight.quantized()) {
      const Weight back(file->Get(name + ".weight"));
      CHECK(testing::SameBits(back.Decode(), linear->weight.Decode()));
      CHECK(back.StorageBits() == linear->weight.StorageBits());
      CHECK_FALSE(foreign->Find(name, back.rows(), back.cols()));
      continue;
    }
    PackedMatrix made(1, 1, WeightScheme{});
    const PackedMatrix& original = testing::InReferenceLayout(linear->weight, made);
    const PackedMatrix back = reader(*file, name, original);
    CHECK(back.Sha256() == original.Sha256());
    const auto found = foreign->Find(name, original.rows(), original.cols());
    REQUIRE(found);
    CHECK(found->read(notes).CodesSha256() == back.Sha256());
    CHECK(found->activations == linear->activations);
    CHECK(testing::SameBits(Weight(std::make_shared<const PackedMatrix>(back)).Decode(),
                            linear->weight.Decode()));
  }
  const Tensor& norm = file->Get("model.layers.0.post_attention_layernorm.weight");
  CHECK(norm.dtype == DType::kF32);
  CHECK(reinterpret_cast<const float*>(norm.data)[1] == 1.0f / 3);
}

struct FormatCase {
  const char* format;
  SlowReader reader;
  std::vector<CellChoice> choices;
};

std::vector<FormatCase> PackedCases() {
  const std::vector<CellChoice> words = {
      {.scheme = IntScheme(4, 32, true)},
      {.scheme = IntScheme(4, 16, true, true)},
      {.scheme = IntScheme(4, 32, false)},
      {.scheme = IntScheme(2, 16, false, true)},
      {.scheme = IntScheme(8, 0, true)},
      {.scheme = IntScheme(8, 32, false)},
      {.scheme = IntScheme(4, 0, false)},
      {.scheme = IntScheme(4, 32, false), .kernels = true, .keep = {"embed_tokens"}}};
  std::vector<CellChoice> gptq = words, bytes;
  gptq.push_back({.scheme = IntScheme(4, 16, false), .ordered = true});
  gptq.push_back({.scheme = IntScheme(4, 32, true), .ordered = true, .kernels = true});
  gptq.push_back({.scheme = IntScheme(3, 32, false)});
  gptq.push_back({.scheme = IntScheme(3, 0, true), .kernels = true});
  bytes.push_back({.scheme = IntScheme(8, 0, true), .activations = ActivationFormat{}});
  bytes.push_back({.scheme = IntScheme(8, 0, true),
                   .activations = ActivationFormat{.per_token = false, .static_scale = 0.25f}});
  for (const bool symmetric : {false, true}) {
    bytes.push_back({.scheme = IntScheme(8, 0, symmetric)});
    bytes.push_back({.scheme = IntScheme(8, 32, symmetric), .kernels = true});
  }
  bytes.push_back({.scheme = {.bits = 8, .granularity = Granularity::kTensor, .symmetric = true}});
  return {{"pack-quantized", FromPackQuantized, words},
          {"int-quantized", FromIntQuantized, bytes},
          {"gptq", FromGptq, gptq},
          {"awq",
           FromAwq,
           {{.scheme = IntScheme(4, 32, false)},
            {.scheme = IntScheme(4, 0, false, true), .kernels = true}}}};
}

TEST_CASE("export: every packed format gives every scheme back, bit for bit", "[export]") {
  for (const FormatCase& format : PackedCases()) {
    for (const CellChoice& choice : format.choices) {
      INFO(SchemeName(choice.scheme));
      const CellToTest cell(ExportableModel(), choice);
      CHECK_NOTHROW(CheckExportable(*FindExportFormat(format.format), cell.planned()));
      CheckReadBack(cell, format.format, format.reader);
    }
  }
}

TEST_CASE("export: ranges that differ from matrix to matrix come back", "[export]") {
  for (const FormatCase& format :
       {FormatCase{"pack-quantized", FromPackQuantized, {}}, FormatCase{"gptq", FromGptq, {}}}) {
    for (const bool symmetric : {true, false}) {
      CellToTest cell(ExportableModel(), {.scheme = IntScheme(4, 32, symmetric)});
      Linear& linear = cell.weights().blocks[1].linears[kO];
      linear.weight = Weight(std::make_shared<const PackedMatrix>(
          RoundToNearest(linear.weight.Decode().view(), IntScheme(4, 32, symmetric, true))));
      CheckReadBack(cell, format.format, format.reader);
    }
  }
}

TEST_CASE("export: scales below FP16's are FP32, or refused where the format has none") {
  CellToTest cell(ExportableModel(), {.scheme = IntScheme(8, 0, true)});
  Linear& linear = cell.weights().blocks[0].linears[kO];
  Matrix<float> values = linear.weight.Decode();
  for (size_t i = 0; i < values.rows() * values.cols(); ++i) values.data()[i] *= 0x1p-16f;
  linear.weight = Weight(
      std::make_shared<const PackedMatrix>(RoundToNearest(values.view(), IntScheme(8, 0, true))));
  REQUIRE(linear.weight.packed()->exponent() != 0);
  CheckReadBack(cell, "int-quantized", FromIntQuantized);
  CHECK_ERROR(cell.Export("gptq", "other"), "layers.0.self_attn.o_proj", "FP16 numbers",
              "pack-quantized");
  CHECK_FALSE(fs::exists(cell.model() / "other"));
}

TEST_CASE("export: an order of columns that nobody foretold is refused when it is found") {
  const CellToTest cell(ExportableModel(false, testing::kFewPieces),
                        {.scheme = IntScheme(4, 32, true), .ordered = true});
  for (const char* format : {"pack-quantized", "gguf"})
    CHECK_ERROR(cell.Export(format), "no order of columns", "gptq");
}

TEST_CASE("export: blocks of GGUF decode to the cell's numbers") {
  const bool tied = GENERATE(false, true);
  const std::vector<CellChoice> choices = {
      {.scheme = IntScheme(4, 32, true)},
      {.scheme = IntScheme(5, 32, true, true)},
      {.scheme = IntScheme(8, 0, true), .kernels = true},
      {.scheme = IntScheme(4, 64, true), .keep = {"lm_head", "*.down_proj", "embed_tokens"}},
      {.scheme = IntScheme(8, 32, true), .keep = {}}};
  for (const CellChoice& choice : choices) {
    INFO(SchemeName(choice.scheme));
    if (tied && choice.keep.size() > 2) continue;  // the head is no matrix of its own
    const CellToTest cell(ExportableModel(tied, testing::kFewPieces), choice);
    CHECK_NOTHROW(CheckExportable(*FindExportFormat("gguf"), cell.planned()));
    const fs::path folder = cell.Export("gguf");
    const auto file = Checkpoint::Open(folder);
    for (const Linear* linear : AllLinears(cell.weights())) {
      INFO(linear->name);
      const std::string name = (linear->name == "lm_head" ? "" : "model.") + linear->name;
      CHECK(
          testing::SameBits(Weight(file->Get(name + ".weight")).Decode(), linear->weight.Decode()));
    }
    const GgufFile& keys = *file->gguf();
    CHECK(keys.Text("quantref.weights_sha256") == "0123");
    CHECK(keys.Count("llama.attention.head_count_kv") == 2u);
    CHECK(keys.Number("llama.attention.layer_norm_rms_epsilon") == 1e-5);
    CHECK(keys.Texts("tokenizer.ggml.tokens")->size() == cell.config().vocab);
    CHECK(keys.Count("tokenizer.ggml.bos_token_id") == 1u);
    CHECK(keys.Count("tokenizer.ggml.eos_token_id") == 2u);
    CHECK(keys.Count("tokenizer.ggml.unknown_token_id") == 0u);
  }
}

// As another tool's folder: a reference of numbers, and no quantized model.
TEST_CASE("export: a folder of codes is a model of the numbers that they stand for") {
  struct Case {
    const char* format;
    CellChoice choice;
  };
  const std::vector<Case> cases = {
      {"pack-quantized", {.scheme = IntScheme(4, 32, false)}},
      {"gptq", {.scheme = IntScheme(3, 32, true), .ordered = true}},
      {"awq", {.scheme = IntScheme(4, 32, false)}},
      {"int-quantized", {.scheme = IntScheme(8, 0, true), .keep = {"embed_tokens"}}}};
  for (const Case& one : cases) {
    INFO(one.format);
    const CellToTest cell(ExportableModel(false, testing::kFewPieces), one.choice);
    const fs::path folder = cell.Export(one.format);
    CHECK_ERROR(LoadModel("m", folder, WeightType::kNative, 1), "quantization_config");
    const Model model = LoadModel("m", folder, WeightType::kNative, 2, OpenForeign);
    const auto expected = AllLinears(cell.weights()), found = AllLinears(model.weights);
    REQUIRE(found.size() == expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      INFO(found[i]->name);
      CHECK_FALSE(found[i]->weight.quantized());
      CHECK(found[i]->weight.in_blocks() ==
            (found[i]->name == "lm_head" && one.choice.keep.size() == 1));
      CHECK(testing::SameBits(found[i]->weight.Decode(), expected[i]->weight.Decode()));
    }
    CHECK(model.stored.HoldsCodes());
    CHECK(model.stored.found.size() == found.size());
    const ModelBytes bytes = BytesToLoad(folder, WeightType::kNative, SaysForeign(folder));
    CHECK(bytes.decoded >= OwnBytes(model.weights));
    CHECK(BytesToLoad(folder, WeightType::kFp16, true).decoded == bytes.decoded / 2);
    CHECK(CheckModelFiles(folder, WeightType::kNative, OpenForeign).hidden == 64);
    CHECK(ReadModelConfig(folder).hidden == 64);
    const Model halves = LoadModel("m", folder, WeightType::kFp16, 1, OpenForeign);
    for (const Linear* linear : AllLinears(halves.weights)) {
      const auto dense = linear->weight.dense();
      CHECK((!dense || dense->type == DenseRows::Type::kFp16));
    }
  }
}

TEST_CASE("export: settings in a file of their own are watched and hashed") {
  const CellToTest cell(ExportableModel(false, testing::kFewPieces),
                        {.scheme = IntScheme(4, 32, true)});
  const fs::path folder = cell.Export("gptq");
  nlohmann::json config = ReadJsonFile(folder / "config.json");
  nlohmann::json settings = config["quantization_config"];
  config.erase("quantization_config");
  testing::WriteFile(folder / "config.json", config.dump());
  const auto load = [&] {
    testing::WriteFile(folder / "quantize_config.json", settings.dump());
    return LoadModel("m", folder, WeightType::kNative, 1, OpenForeign);
  };
  const Model model = load();
  CHECK(model.stored.HoldsCodes());
  CHECK(model.settings_file.path() == folder / "quantize_config.json");
  settings["who"] = "else";
  const Model other = load();
  CHECK(other.config.sha256 != model.config.sha256);
  CHECK_NOTHROW(CheckUnchanged(other.files()));
  std::ofstream(folder / "quantize_config.json", std::ios::app) << "\n";
  CHECK_THROWS_AS(CheckUnchanged(other.files()), InputChanged);
}

TEST_CASE("export: a folder whose inputs are rounded is no reference") {
  const CellToTest cell(ExportableModel(false, testing::kFewPieces),
                        {.scheme = IntScheme(8, 0, true), .activations = ActivationFormat{}});
  const fs::path folder = cell.Export("int-quantized");
  CHECK_ERROR(LoadModel("m", folder, WeightType::kNative, 1, OpenForeign), "has the inputs of",
              "layers.0", "--candidate");
  CHECK_ERROR(CheckModelFiles(folder, WeightType::kNative, OpenForeign), "has the inputs of");
}

TEST_CASE("export: a bias that was folded away is a vector of zeros in GGUF") {
  testing::TinyModel shape = ExportableModel(false, testing::kFewPieces);
  shape.attention_bias = true;
  CellToTest cell(shape, {.scheme = IntScheme(8, 32, true)});
  std::vector<float>& bias = cell.weights().blocks[0].linears[kQ].bias;
  REQUIRE_FALSE(bias.empty());
  bias.clear();
  const auto file = Checkpoint::Open(cell.Export("gguf"));
  const Tensor& stored = file->Get("model.layers.0.self_attn.q_proj.bias");
  REQUIRE(stored.shape == std::vector<size_t>{64});
  CHECK(std::all_of(stored.data, stored.data + stored.bytes,
                    [](std::byte b) { return b == std::byte{0}; }));
}

}  // namespace
}  // namespace quantref
