#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "harness/export/export.h"
#include "harness/export/exported_cell.h"
#include "harness/io/checkpoint.h"
#include "harness/io/json_file.h"
#include "harness/model/config.h"
#include "harness/model/plan_model.h"
#include "harness/model/weights.h"
#include "harness/quant/affine.h"
#include "harness/quant/grid.h"
#include "harness/quant/quant_testing.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "harness/testing/tiny_spec.h"

// What tests of exports share: cells of a tiny model, and slow readers of each layout, written from
// what the formats' specifications say of a single number.

namespace quantref::testing {

// Shapes that groups of 32 and words of 3 bits divide. With wikilm-2m's tokenizer where the
// vocabulary is that, else with letters.
inline TinyModel ExportableModel(bool tied = false, size_t vocab = 64) {
  return {.hidden = 64,
          .intermediate = 96,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 16,
          .vocab = vocab,
          .tied = tied};
}

struct CellChoice {
  WeightScheme scheme{};
  bool ordered = false;  // columns in an order of their own
  bool kernels = false;  // in the kernels' layout
  std::optional<ActivationFormat> activations{};
  std::vector<std::string> keep = {"embed_tokens", "lm_head"};
};

// A model in a folder, and a cell that was made of it.
class CellToTest {
 public:
  explicit CellToTest(const TinyModel& tiny, const CellChoice& choice) {
    WriteTinyModel(dir_.path(), tiny);
    tiny.vocab == kFewPieces ? WriteFewPieces(dir_.path()) : WriteLetterTokenizer(dir_.path());
    WriteFile(dir_ / "generation_config.json", "{}");
    config_ = ReadConfig(dir_ / "config.json");
    weights_ = LoadWeights(config_, Checkpoint::Open(dir_.path()), WeightType::kNative, 1);
    QuantizeSpec spec;
    spec.weights = choice.scheme;
    spec.keep = choice.keep;
    plan_ = PlanModel(spec, config_);
    const std::vector<Linear*> linears = AllLinears(weights_);
    for (size_t i = 0; i < plan_.size(); ++i) {
      if (plan_[i].scheme) Quantize(*plan_[i].scheme, choice, *linears[i]);
    }
    if (config_.tied_head) weights_.head.weight = weights_.embedding.weight;
    // What transforms leave: gains that FP16 does not hold.
    weights_.blocks[0].norms[kMlpNorm][1] = 1.0f / 3;
  }

  const std::filesystem::path& model() const { return dir_.path(); }
  const ModelConfig& config() const { return config_; }
  ModelWeights& weights() { return weights_; }
  const ModelWeights& weights() const { return weights_; }
  const std::vector<PlannedLinear>& plan() const { return plan_; }

  CellToExport planned() const {
    return {.model = dir_.path(), .original = config_, .config = config_, .plan = plan_};
  }
  FinishedCell finished() const {
    return {dir_.path(), config_, weights_, {"config", "cell", "tiny", "0123"}};
  }
  // Into a new folder, which has the files.
  std::filesystem::path Export(const char* format, const std::string& name = "out") const {
    ExportCell(*FindExportFormat(format), finished(), dir_ / name);
    return dir_ / name;
  }

 private:
  static void Quantize(const WeightScheme& scheme, const CellChoice& choice, Linear& linear) {
    Matrix<float> values = linear.weight.Decode();
    std::vector<uint32_t> order;
    for (size_t j = 0; choice.ordered && j < values.cols(); ++j)
      order.push_back(static_cast<uint32_t>((j * 7 + 3) % values.cols()));
    if (!order.empty()) {
      Matrix<float> turned(values.rows(), values.cols());
      for (size_t r = 0; r < values.rows(); ++r) {
        for (size_t j = 0; j < order.size(); ++j) turned(r, j) = values(r, order[j]);
      }
      values = std::move(turned);
    }
    PackedMatrix packed = RoundToNearest(values.view(), scheme);
    packed.set_order(std::move(order));
    linear.weight = Weight(std::make_shared<const PackedMatrix>(std::move(packed)));
    if (choice.kernels) linear.weight = linear.weight.WithKernels();
    linear.activations = choice.activations;
  }

  TempDir dir_;
  ModelConfig config_;
  ModelWeights weights_;
  std::vector<PlannedLinear> plan_;
};

inline const PackedMatrix& InReferenceLayout(const Weight& weight, PackedMatrix& made) {
  if (weight.packed() != nullptr) return *weight.packed();
  return made = weight.tiled()->Unpack();
}

// One code of so many bits in a stream of 32-bit words that lie `stride` words apart.
inline uint8_t CodeAt(const Tensor& words, size_t first, size_t stride, size_t index, int bits) {
  const auto* at = reinterpret_cast<const uint32_t*>(words.data);
  unsigned code = 0;
  for (int bit = 0; bit < bits; ++bit) {
    const size_t place = index * static_cast<size_t>(bits) + static_cast<size_t>(bit);
    code |= (at[first + place / 32 * stride] >> (place % 32) & 1) << bit;
  }
  return static_cast<uint8_t>(code);
}

inline float NumberIn(const Tensor& tensor, size_t index) {
  if (tensor.dtype == DType::kF32) return reinterpret_cast<const float*>(tensor.data)[index];
  return HalfToFloat(reinterpret_cast<const uint16_t*>(tensor.data)[index]);
}

// Sets order and codes (by column) of a matrix whose columns have these groups.
inline void SetByColumn(const Tensor* groups, const std::vector<std::vector<uint8_t>>& codes,
                        PackedMatrix& packed) {
  std::vector<uint32_t> order;
  bool in_place = true;
  for (size_t g = 0; groups != nullptr && g < packed.scale_cols(); ++g) {
    for (size_t c = 0; c < packed.cols(); ++c) {
      if (reinterpret_cast<const int32_t*>(groups->data)[c] != static_cast<int32_t>(g)) continue;
      in_place = in_place && order.size() == c;
      order.push_back(static_cast<uint32_t>(c));
    }
  }
  std::vector<uint8_t> moved(packed.cols());
  for (size_t row = 0; row < packed.rows(); ++row) {
    for (size_t p = 0; p < moved.size(); ++p) moved[p] = codes[row][in_place ? p : order[p]];
    packed.SetCodes(row, moved);
  }
  if (!in_place) packed.set_order(std::move(order));
}

}  // namespace quantref::testing
