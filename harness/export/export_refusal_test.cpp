#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/export/export_testing.h"
#include "harness/model/model_testing.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::CellChoice;
using testing::CellToTest;
using testing::ExportableModel;

constexpr WeightScheme kInt4{.bits = 4, .group = 32, .symmetric = false};

WeightScheme Changed(void (*change)(WeightScheme& scheme)) {
  WeightScheme scheme = kInt4;
  change(scheme);
  return scheme;
}

void CheckRefused(const char* format, const CellToExport& planned, const std::string& part,
                  const std::string& other = "") {
  INFO(format);
  CHECK_ERROR(CheckExportable(*FindExportFormat(format), planned), part, other);
}

TEST_CASE("export: what a format cannot hold is refused by name, and the hint has those that can") {
  struct Case {
    WeightScheme scheme;
    const char *format, *part;
  };
  const std::vector<Case> cases = {
      {Changed([](auto& s) { s.bits = 3, s.group = 96; }), "gptq", "and not of 96"},
      {Changed([](auto& s) { s.bits = 3; }), "pack-quantized", "in two ways"},
      {Changed([](auto& s) { s.bits = 5; }), "gptq", "and not of 5"},
      {Changed([](auto& s) { s.bits = 4; }), "int-quantized", "has codes of 8 bits"},
      {Changed([](auto& s) { s.group = 40; }), "pack-quantized", "40 does not divide 64 inputs"},
      {Changed([](auto& s) { s.group = 128; }), "gptq", "128 does not divide 64 inputs"},
      {Changed([](auto& s) { s.granularity = Granularity::kColumn; }), "awq", "go by column"},
      {Changed([](auto& s) { s.granularity = Granularity::kTensor; }), "gptq", "rows or groups"},
      {Changed([](auto& s) { s.granularity = Granularity::kTensor; }), "pack-quantized",
       "zero points"},
      {Changed([](auto& s) { s.symmetric = true; }), "awq", "asymmetric codes of 4 bits"},
      {kInt4, "gguf", "minimum in FP16 (Q4_1)"},
      {Changed([](auto& s) { s.symmetric = true, s.group = 16; }), "gguf", "a scale for each 32"},
      {Changed([](auto& s) { s.symmetric = true, s.bits = 6; }), "gguf", "and not of 6"},
      {SchemeOf(*FindFormat("nf4")), "pack-quantized", "no nf4"},
      {SchemeOf(*FindFormat("nf4")), "gptq", "no nf4"},
      {SchemeOf(*FindFormat("mxfp4")), "gguf", "no mxfp4"},
  };
  const CellToTest cell(ExportableModel(false, testing::kFewPieces), {.keep = {"*"}});
  for (const Case& one : cases) {
    INFO(SchemeName(one.scheme));
    std::vector<PlannedLinear> plan = cell.plan();
    plan[1].scheme = one.scheme;
    CellToExport planned{
        .model = cell.model(), .original = cell.config(), .config = cell.config(), .plan = plan};
    CheckRefused(one.format, planned, one.part, "layers.0.self_attn.q_proj");
    CHECK_ERROR(CheckExportable(*FindExportFormat(one.format), planned), "formats that can",
                "dequantized-fp32");
  }
}

TEST_CASE("export: cells that are more than weights are refused by name") {
  const CellToTest cell(ExportableModel(false, testing::kFewPieces), {.scheme = kInt4});
  const CellToExport planned = cell.planned();
  for (const ExportFormat* format : ExportFormats()) {
    const char* name = format->name.data();
    CellToExport cached = planned;
    cached.rounds_cache = true;
    CheckRefused(name, cached, "keys and values");
    CellToExport adapted = planned;
    adapted.adapters = true;
    adapted.remedies.adapters = "merge: fp16";
    CheckRefused(name, adapted, "no adapters beside matrices (merge: fp16 adds");
    ModelConfig rotated = cell.config();
    rotated.layers[1].mlp_rotation.order = 32;
    CellToExport online{
        .model = cell.model(), .original = cell.config(), .config = rotated, .plan = cell.plan()};
    CheckRefused(name, online, "no rotations in the forward pass");
    online.remedies.rotations = "online: false";
    CheckRefused(name, online, "(online: false bakes them into weights)");
  }
  CellToExport active = planned;
  active.activations = ActivationScheme{};
  for (const char* name : {"gptq", "awq", "gguf", "dequantized", "dequantized-fp32"})
    CheckRefused(name, active, "weights alone", "a8 token");
  CHECK_NOTHROW(CheckExportable(*FindExportFormat("pack-quantized"), active));
  for (const ActivationScheme& scheme :
       {ActivationScheme{.bits = 4}, ActivationScheme{.per_token = false},
        ActivationScheme{.group = 32}, ActivationScheme{.outliers = OutlierRule{}}}) {
    active.activations = scheme;
    CheckRefused("pack-quantized", active, ActivationName(scheme));
  }
  CellToExport ordered = planned;
  ordered.reorders = [](const PlannedLinear&) { return true; };
  for (const char* name : {"awq", "gguf", "pack-quantized"})
    CheckRefused(name, ordered, "no order of columns, and the method chooses one");
  ordered.remedies.reorders = [](const PlannedLinear& linear) {
    return std::string_view(linear.shape.name);
  };
  CheckRefused("awq", ordered, "(layers.0.self_attn.q_proj keeps them in place)");
  CHECK_NOTHROW(CheckExportable(*FindExportFormat("gptq"), ordered));
  const CellToTest embedding(ExportableModel(), {.scheme = kInt4, .keep = {"lm_head"}});
  for (const char* name : {"gptq", "awq", "pack-quantized"})
    CheckRefused(name, embedding.planned(), "embeddings", "embed_tokens");
  const CellToTest nothing(ExportableModel(), {.keep = {"*"}});
  for (const char* name : {"gptq", "awq", "pack-quantized", "gguf"})
    CheckRefused(name, nothing.planned(), "the cell has none");
}

TEST_CASE("export: what was decoded loads as a plain model with the same logits") {
  const bool tied = GENERATE(false, true);
  const CellToTest cell(ExportableModel(tied), {.scheme = kInt4});
  const ModelWeights simulated = With(cell.weights(), Products::kSimulated);
  const std::vector<uint32_t> ids = testing::RandomIds(24, cell.config().vocab, 3);
  const auto logits = [&](const Transformer& model) {
    Workspace work;
    return testing::Logits(model, model.Hidden(ids, work).view(), work);
  };
  const Transformer original(cell.config(), simulated, 32, Products::kSimulated);
  const Transformer exact = testing::LoadTransformer(cell.Export("dequantized-fp32"));
  CHECK(testing::SameBits(logits(exact), logits(original)));
  const fs::path folder = cell.Export("dequantized", "halves");
  const Transformer rounded = testing::LoadTransformer(folder);
  const Matrix<float> found = rounded.weights().blocks[1].linears[kO].weight.Decode();
  Matrix<float> expected = cell.weights().blocks[1].linears[kO].weight.Decode();
  for (size_t i = 0; i < expected.rows() * expected.cols(); ++i)
    expected.data()[i] = RoundToHalf(expected.data()[i]);
  CHECK(testing::SameBits(found, expected));
  CHECK(ReadJsonFile(folder / "config.json")["torch_dtype"] == "float16");
}

TEST_CASE("export: the folder has what loaders need, and says where it comes from") {
  const CellChoice choice{
      .scheme = {.bits = 8, .granularity = Granularity::kRow, .symmetric = true},
      .activations = ActivationFormat{.per_token = false, .static_scale = 0.5f}};
  const CellToTest cell(ExportableModel(true), choice);
  const fs::path folder = cell.Export("int-quantized");
  for (const char* file : {"tokenizer.model", "generation_config.json", "quantref.json"})
    CHECK(fs::exists(folder / file));
  const nlohmann::json config = ReadJsonFile(folder / "config.json");
  CHECK(config["quantref"]["full_range"] == false);
  CHECK_FALSE(config["quantref"].contains("zero_in_range"));
  const nlohmann::json& said = config["quantization_config"];
  CHECK(said["format"] == "int-quantized");
  CHECK(said["ignore"] == nlohmann::json::array({"lm_head"}));
  const nlohmann::json& group = said["config_groups"]["group_0"];
  CHECK(group["targets"] == nlohmann::json::array({"Linear"}));
  CHECK(group["weights"]["strategy"] == "channel");
  CHECK(group["input_activations"]["strategy"] == "tensor");
  CHECK(group["input_activations"]["dynamic"] == false);
  const auto file = Checkpoint::Open(folder);
  const Tensor& scale = file->Get("model.layers.1.mlp.up_proj.input_scale");
  CHECK(testing::NumberIn(scale, 0) == 0.5f);
  CHECK(file->Find("lm_head.weight") == nullptr);
  const ExportFormat& format = *FindExportFormat("int-quantized");
  CHECK(IsExportOf(folder, format, "0123"));
  CHECK_FALSE(IsExportOf(folder, format, "4567"));
  CHECK_FALSE(IsExportOf(folder, *FindExportFormat("gptq"), "0123"));
  CHECK_FALSE(IsExportOf(cell.model(), format, "0123"));
  fs::resize_file(folder / "model.safetensors", 1000);
  CHECK_FALSE(IsExportOf(folder, format, "0123"));
}

TEST_CASE("export: schemes that differ are said matrix by matrix") {
  CellToTest cell(ExportableModel(), {.scheme = kInt4});
  Linear& wider = cell.weights().blocks[1].linears[kDown];
  WeightScheme eight = kInt4;
  eight.bits = 8;
  wider.weight = Weight(
      std::make_shared<const PackedMatrix>(RoundToNearest(wider.weight.Decode().view(), eight)));
  const nlohmann::json packed =
      ReadJsonFile(cell.Export("pack-quantized") / "config.json")["quantization_config"];
  CHECK(packed["config_groups"].size() == 2);
  CHECK(packed["config_groups"]["group_1"]["targets"] ==
        nlohmann::json::array({"model.layers.1.mlp.down_proj"}));
  const nlohmann::json gptq =
      ReadJsonFile(cell.Export("gptq", "gptq") / "config.json")["quantization_config"];
  CHECK(gptq["bits"] == 4);
  CHECK(gptq["checkpoint_format"] == "gptq_v2");
  CHECK(gptq["dynamic"]["+:^model\\.layers\\.1\\.mlp\\.down_proj$"]["bits"] == 8);
}

TEST_CASE("export: a folder is written whole or not at all, and never over another") {
  const CellToTest cell(ExportableModel(), {.scheme = kInt4});
  cell.Export("gptq");
  const std::string before = testing::FileText(cell.model() / "out/config.json");
  CHECK_ERROR(cell.Export("awq"), "out", "it was left as it is");
  CHECK(testing::FileText(cell.model() / "out/config.json") == before);
  fs::remove(cell.model() / "config.json");
  CHECK_ERROR(cell.Export("gptq", "broken"), "config.json");
  for (const auto& entry : fs::directory_iterator(cell.model())) {
    const std::string name = entry.path().filename().string();
    INFO(name);
    CHECK_FALSE((name == "broken" || name.ends_with(".tmp")));
  }
}

}  // namespace
}  // namespace quantref
