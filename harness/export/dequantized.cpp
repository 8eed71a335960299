#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "harness/base/error.h"
#include "harness/base/half.h"
#include "harness/export/formats.h"
#include "harness/export/limits.h"
#include "harness/export/model_folder.h"
#include "harness/export/model_tensors.h"
#include "harness/export/packed_codes.h"

// Plain checkpoints of what codes stand for, which everything loads: "fake-quantized".

namespace quantref {
namespace {

constexpr size_t kDecodedRows = 64;  // at a time

std::string AnyMatrix(const CellToExport&, const PlannedLinear&) { return ""; }

// The panels of a matrix, row by row.
template <typename F>
void ForDecoded(const Weight& weight, const F& f) {
  std::vector<float> panel;
  for (size_t first = 0; first < weight.rows(); first += kDecodedRows) {
    const size_t rows = std::min(kDecodedRows, weight.rows() - first);
    panel.resize(rows * weight.cols());
    weight.DecodeRows(first, {panel.data(), rows, weight.cols()});
    f(panel);
  }
}

void WriteRounded(const Weight& weight, const std::string& name, const ByteSink& sink) {
  HalfLoss loss;
  std::vector<uint16_t> halves;
  ForDecoded(weight, [&](const std::vector<float>& values) {
    halves.clear();
    for (const float value : values) {
      halves.push_back(FloatToHalf(value));
      const float rounded = HalfToFloat(halves.back());
      if (!(std::fabs(rounded) <= kMaxHalf))
        throw Error(fmt::format("a weight of {} does not fit FP16", value), name);
      loss.Add(value, rounded);
    }
    sink(AsBytes(halves));
  });
  CheckHalfLoss(loss, name, "dequantized-fp32 holds them");
}

void WriteDecoded(const FinishedCell& cell, const std::filesystem::path& folder, bool rounded) {
  const auto decoded = [&](const Linear& linear, const std::string& name) {
    const Weight& weight = linear.weight;
    const std::string file_name = name + ".weight";
    std::vector<TensorToWrite> tensors;
    tensors.push_back({file_name,
                       rounded ? DType::kF16 : DType::kF32,
                       {weight.rows(), weight.cols()},
                       [&weight, rounded, file_name](const ByteSink& sink) {
                         if (rounded) return WriteRounded(weight, file_name, sink);
                         ForDecoded(weight, [&](const auto& values) { sink(AsBytes(values)); });
                       }});
    return tensors;
  };
  WriteModelFolder(cell, folder, ModelTensors(cell, decoded), nullptr,
                   rounded ? "float16" : "float32");
}

}  // namespace

constinit const ExportFormat kDequantized{
    "dequantized", "FP16 safetensors of what codes stand for, rounded once more (2^-11 at most)",
    WhyNotWeightsAlone, AnyMatrix,
    [](const FinishedCell& cell, const std::filesystem::path& folder) {
      WriteDecoded(cell, folder, true);
    }};

constinit const ExportFormat kDequantizedFp32{
    "dequantized-fp32", "FP32 safetensors of what codes stand for, exactly", WhyNotWeightsAlone,
    AnyMatrix, [](const FinishedCell& cell, const std::filesystem::path& folder) {
      WriteDecoded(cell, folder, false);
    }};

}  // namespace quantref
