#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "harness/base/check.h"
#include "harness/export/formats.h"
#include "harness/export/limits.h"
#include "harness/export/model_folder.h"
#include "harness/export/model_tensors.h"
#include "harness/export/packed_codes.h"
#include "harness/io/file.h"
#include "harness/io/json_file.h"
#include "harness/model/layout.h"
#include "harness/quant/affine.h"

// Checkpoints of GPTQModel's format gptq_v2 (before it AutoGPTQ's), of which zero points are stored
// as they are. Of a matrix P:
//   P.qweight int32 (in * b / 32, out)   codes along the inputs
//   P.qzeros  int32 (groups, out * b / 32)  zero points along the outputs
//   P.scales  FP16  (groups, out)
//   P.g_idx   int32 (in)                 the group of each input
// packed from the least significant bit of a word on, those of 3 bits across words.

namespace quantref {
namespace {

using Json = nlohmann::json;

constexpr size_t kGroupSizes[] = {16, 32, 64, 128, 256, 512, 1024};  // that GPTQModel takes

std::string WhyNotGptq(const CellToExport& cell) {
  return FirstOf(WhyNothing(cell), WhyNotWeightsAlone(cell));
}

std::string WhyNotGptqScheme(const WeightScheme& scheme) {
  if (scheme.bits != 3 && 32 % scheme.bits != 0)
    return fmt::format("has codes of 2, 3, 4 or 8 bits, and not of {}", scheme.bits);
  if (scheme.granularity == Granularity::kTensor) return "has scales of rows or groups";
  if (scheme.granularity != Granularity::kGroup ||
      std::ranges::count(kGroupSizes, scheme.group) > 0)
    return "";
  return fmt::format("has groups of 16, 32, 64, 128, 256, 512 or 1024 inputs, and not of {}",
                     scheme.group);
}

std::string WhyNotGptqMatrix(const CellToExport& cell, const PlannedLinear& linear) {
  const std::string why = FirstOf(WhyNotMultiplied(linear), WhyNotInteger(linear),
                                  WhyNotGptqScheme(*linear.scheme), WhyNotRowsOrGroups(linear));
  if (!why.empty()) return why;
  if (linear.scheme->granularity != Granularity::kGroup && cell.Reorders(linear))
    return WhyOrdered(cell, linear);
  const size_t bits = static_cast<size_t>(linear.scheme->bits);
  const auto& [name, rows, cols] = linear.shape;
  if (rows * bits % 32 == 0 && cols * bits % 32 == 0) return "";
  return fmt::format("fills words of 32 bits, which {} x {} codes do not", rows, cols);
}

// Words down the columns: (WordsFor(cols), rows).
void PutGptqWeights(const PackedMatrix& packed, const ByteSink& sink) {
  const int bits = packed.scheme().bits;
  const size_t rows = packed.rows(), height = WordsFor(packed.cols(), bits);
  std::vector<uint8_t> codes(packed.cols());
  std::vector<uint32_t> column(height), words(height * rows);
  for (size_t row = 0; row < rows; ++row) {
    GetColumnCodes(packed, row, codes);
    PackWords(codes, bits, column);
    for (size_t i = 0; i < height; ++i) words[i * rows + row] = column[i];
  }
  sink(AsBytes(words));
}

void PutGptqZeros(const PackedMatrix& packed, const ByteSink& sink) {
  const int bits = packed.scheme().bits;
  std::vector<uint8_t> zeros(packed.rows());
  std::vector<uint32_t> words(WordsFor(packed.rows(), bits));
  for (size_t group = 0; group < packed.scale_cols(); ++group) {
    for (size_t row = 0; row < zeros.size(); ++row)
      zeros[row] = static_cast<uint8_t>(packed.affine(row, group).zero);
    PackWords(zeros, bits, words);
    sink(AsBytes(words));
  }
}

std::vector<TensorToWrite> GptqTensors(const Linear& linear, const std::string& name) {
  const Weight& weight = linear.weight;
  const size_t rows = weight.rows(), cols = weight.cols();
  const int bits = SchemeOfWeight(weight).bits;
  const size_t groups = ShapeOfScales(rows, cols, SchemeOfWeight(weight)).cols;
  return {
      {name + ".qweight",
       DType::kI32,
       {WordsFor(cols, bits), rows},
       [&weight](const ByteSink& sink) { PutGptqWeights(*AsPacked(weight), sink); }},
      {name + ".qzeros",
       DType::kI32,
       {groups, WordsFor(rows, bits)},
       [&weight](const ByteSink& sink) { PutGptqZeros(*AsPacked(weight), sink); }},
      {name + ".scales",
       DType::kF16,
       {groups, rows},
       [&weight, name](const ByteSink& sink) { PutScalesByGroup(*AsPacked(weight), name, sink); }},
      {name + ".g_idx",
       DType::kI32,
       {cols},
       [&weight](const ByteSink& sink) { sink(AsBytes(GroupsOfColumns(*AsPacked(weight)))); }},
  };
}

// What config.json says of a scheme.
Json GptqScheme(const WeightScheme& scheme) {
  const bool grouped = scheme.granularity == Granularity::kGroup;
  return {{"bits", scheme.bits},
          {"group_size", grouped ? Json(scheme.group) : Json(-1)},
          {"sym", scheme.symmetric}};
}

// A module's name as a regular expression that nothing else matches.
std::string ExactlyModule(const std::string& name) {
  std::string expression = "^";
  for (const char c : name) expression += c == '.' ? std::string("\\.") : std::string(1, c);
  return expression + "$";
}

Json GptqConfig(const FinishedCell& cell) {
  Json schemes = Json::object(), dynamic = Json::object();
  std::map<std::string, size_t> counts;  // by scheme
  bool ordered = false, head = false;
  ForQuantized(cell, [&](const Linear& linear, const std::string& name) {
    schemes[name] = GptqScheme(SchemeOfWeight(linear.weight));
    ++counts[schemes[name].dump()];
    ordered = ordered || !AsPacked(linear.weight)->order().empty();
    head = head || linear.name == kHeadName;
  });
  QR_CHECK(!counts.empty());  // CheckExportable
  // The most frequent one is said once for all.
  const std::string general =
      std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })->first;
  for (const auto& [name, scheme] : schemes.items()) {
    if (scheme.dump() != general) dynamic["+:" + ExactlyModule(name)] = scheme;
  }
  for (const std::string& name : KeptMatrices(cell)) {
    if (!name.ends_with(kHeadName)) dynamic["-:" + ExactlyModule(name)] = Json::object();
  }
  Json config = ParseJson(general, "the scheme");
  config.update({{"quant_method", "gptq"},
                 {"checkpoint_format", "gptq_v2"},
                 {"format", "gptq_v2"},
                 {"desc_act", ordered},
                 {"static_groups", false},
                 {"lm_head", head},
                 {"pack_dtype", "int32"},
                 {"meta", {{"quantizer", Json::array({"quantref:1"})}}}});
  if (!dynamic.empty()) config["dynamic"] = dynamic;
  return config;
}

void WriteGptq(const FinishedCell& cell, const std::filesystem::path& folder) {
  const Json config = GptqConfig(cell);
  WriteModelFolder(cell, folder, ModelTensors(cell, GptqTensors), config);
  WriteFileAtomically(folder / "quantize_config.json", config.dump(2) + "\n", false);
}

}  // namespace

constinit const ExportFormat kGptqV2{
    "gptq",
    "GPTQModel's gptq_v2: int codes of 2, 3, 4 or 8 bits, with the "
    "group of each input",
    WhyNotGptq, WhyNotGptqMatrix, WriteGptq};

}  // namespace quantref
