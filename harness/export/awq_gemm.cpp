#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "harness/base/check.h"
#include "harness/export/formats.h"
#include "harness/export/limits.h"
#include "harness/export/model_folder.h"
#include "harness/export/model_tensors.h"
#include "harness/export/packed_codes.h"
#include "harness/model/layout.h"
#include "harness/quant/affine.h"

// Checkpoints of AutoAWQ's version gemm: asymmetric codes of 4 bits. Of a matrix P:
//   P.qweight int32 (in, out / 8)      codes along the outputs
//   P.qzeros  int32 (groups, out / 8)  likewise
//   P.scales  FP16  (groups, out)
// Of eight outputs, the t-th is nibble (0, 4, 1, 5, 2, 6, 3, 7)[t] of a word.

namespace quantref {
namespace {

using Json = nlohmann::json;

constexpr size_t kCodesOfWord = 8;
constexpr unsigned kNibbleOf[kCodesOfWord] = {0, 4, 1, 5, 2, 6, 3, 7};

std::string WhyNotAwq(const CellToExport& cell) {
  const std::string why = FirstOf(WhyNothing(cell), WhyNotWeightsAlone(cell));
  if (!why.empty()) return why;
  std::optional<WeightScheme> general;
  for (const PlannedLinear& linear : cell.plan) {
    if (!linear.scheme) continue;
    if (general && *general != *linear.scheme)
      return fmt::format("has one scheme for all matrices, and not {} beside {}",
                         SchemeName(*linear.scheme), SchemeName(*general));
    general = linear.scheme;
  }
  return "";
}

std::string WhyNotAwqMatrix(const CellToExport& cell, const PlannedLinear& linear) {
  const std::string why = FirstOf(WhyNotMultiplied(linear), WhyNotInteger(linear),
                                  WhyNotRowsOrGroups(linear), WhyOrdered(cell, linear));
  if (!why.empty()) return why;
  const WeightScheme& scheme = *linear.scheme;
  if (linear.shape.name == kHeadName) return "leaves the head alone";
  if (scheme.bits != 4 || scheme.symmetric) return "has asymmetric codes of 4 bits alone";
  if (scheme.granularity == Granularity::kTensor) return "has scales of rows or groups";
  if (linear.shape.rows % kCodesOfWord == 0) return "";
  return fmt::format("packs eight outputs together, and {} are no multiple", linear.shape.rows);
}

void PutNibble(size_t row, unsigned code, uint32_t* words) {
  words[row / kCodesOfWord] |= code << (4 * kNibbleOf[row % kCodesOfWord]);
}

void PutAwqWeights(const PackedMatrix& packed, const ByteSink& sink) {
  const size_t width = packed.rows() / kCodesOfWord;
  std::vector<uint32_t> words(packed.cols() * width);
  std::vector<uint8_t> codes(packed.cols());
  for (size_t row = 0; row < packed.rows(); ++row) {
    GetColumnCodes(packed, row, codes);
    for (size_t c = 0; c < codes.size(); ++c) PutNibble(row, codes[c], &words[c * width]);
  }
  sink(AsBytes(words));
}

void PutAwqZeros(const PackedMatrix& packed, const ByteSink& sink) {
  const size_t width = packed.rows() / kCodesOfWord;
  for (size_t group = 0; group < packed.scale_cols(); ++group) {
    std::vector<uint32_t> words(width);
    for (size_t row = 0; row < packed.rows(); ++row)
      PutNibble(row, static_cast<unsigned>(packed.affine(row, group).zero), words.data());
    sink(AsBytes(words));
  }
}

std::vector<TensorToWrite> AwqTensors(const Linear& linear, const std::string& name) {
  const Weight& weight = linear.weight;
  const size_t rows = weight.rows(), cols = weight.cols();
  const size_t groups = ShapeOfScales(rows, cols, SchemeOfWeight(weight)).cols;
  return {
      {name + ".qweight",
       DType::kI32,
       {cols, rows / kCodesOfWord},
       [&weight, name](const ByteSink& sink) {
         RequireColumnsInPlace(*AsPacked(weight), name);
         PutAwqWeights(*AsPacked(weight), sink);
       }},
      {name + ".qzeros",
       DType::kI32,
       {groups, rows / kCodesOfWord},
       [&weight](const ByteSink& sink) { PutAwqZeros(*AsPacked(weight), sink); }},
      {name + ".scales",
       DType::kF16,
       {groups, rows},
       [&weight, name](const ByteSink& sink) { PutScalesByGroup(*AsPacked(weight), name, sink); }},
  };
}

void WriteAwq(const FinishedCell& cell, const std::filesystem::path& folder) {
  std::optional<WeightScheme> scheme;
  ForQuantized(cell, [&](const Linear& linear, const std::string&) {
    scheme = SchemeOfWeight(linear.weight);
  });
  QR_CHECK(scheme.has_value());  // CheckExportable
  const bool grouped = scheme->granularity == Granularity::kGroup;
  const Json config = {
      {"quant_method", "awq"}, {"version", "gemm"},
      {"bits", scheme->bits},  {"group_size", grouped ? Json(scheme->group) : Json(-1)},
      {"zero_point", true},    {"modules_to_not_convert", KeptMatrices(cell)}};
  WriteModelFolder(cell, folder, ModelTensors(cell, AwqTensors), config);
}

}  // namespace

constinit const ExportFormat kAwqGemm{"awq", "AutoAWQ's gemm: asymmetric int codes of 4 bits",
                                      WhyNotAwq, WhyNotAwqMatrix, WriteAwq};

}  // namespace quantref
