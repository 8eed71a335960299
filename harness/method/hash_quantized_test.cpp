#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "harness/method/quantize_model.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// What HashQuantized takes in: everything that quantizing may change.

namespace quantref {
namespace {

using testing::TempDir;
using testing::TinyModel;

// The weights stay mapped when the folder is gone.
ModelWeights LoadTiny(const TinyModel& model) {
  const TempDir dir;
  testing::WriteTinyModel(dir.path(), model);
  return LoadWeights(ReadConfig(dir / "config.json"), Checkpoint::Open(dir.path()),
                     WeightType::kNative, 1);
}

// Packed: one linear of block 0; owned: one of block 1.
ModelWeights SomeChanged() {
  ModelWeights weights = LoadTiny({.attention_bias = true});
  Linear& v = weights.blocks[0].linears[kV];
  v.weight = Weight(std::make_shared<PackedMatrix>(
      RoundToNearest(v.weight.Decode().view(), {.bits = 4, .group = 16})));
  Linear& up = weights.blocks[1].linears[kUp];
  up.weight = Weight(up.weight.Decode());
  weights.blocks[1].linears[kQ].activations = ActivationFormat{.bits = 8};
  return weights;
}

void ChangeCode(Weight& weight) {
  PackedMatrix packed = *weight.packed();
  std::vector<uint8_t> codes(packed.cols());
  packed.GetCodes(2, codes);
  codes[3] ^= 1;
  packed.SetCodes(2, codes);
  weight = Weight(std::make_shared<PackedMatrix>(std::move(packed)));
}

void ChangeOwned(Weight& weight) {
  Matrix<float> values = weight.Decode();
  values(47, 31) += 1e-6f;
  weight = Weight(std::move(values));
}

using Change = std::function<void(ModelWeights& weights)>;

// By what is changed.
const std::vector<std::pair<std::string, Change>>& Changes() {
  using Weights = ModelWeights;
  const auto format = [](Weights& w) -> ActivationFormat& {
    return *w.blocks[1].linears[kQ].activations;
  };
  static const std::vector<std::pair<std::string, Change>> changes = {
      {"an attention norm", [](Weights& w) { w.blocks[0].norms[kAttentionNorm][31] += 1e-6f; }},
      {"an MLP norm", [](Weights& w) { w.blocks[1].norms[kMlpNorm][0] += 1e-6f; }},
      {"norms of two blocks exchanged",
       [](Weights& w) { std::swap(w.blocks[0].norms[kMlpNorm], w.blocks[1].norms[kMlpNorm]); }},
      {"a bias", [](Weights& w) { w.blocks[1].linears[kO].bias[5] += 1e-6f; }},
      {"a bias of a packed linear", [](Weights& w) { w.blocks[0].linears[kV].bias[5] += 1e-6f; }},
      {"a code", [](Weights& w) { ChangeCode(w.blocks[0].linears[kV].weight); }},
      {"a number of its own", [](Weights& w) { ChangeOwned(w.blocks[1].linears[kUp].weight); }},
      {"a matrix from the checkpoint that becomes its own",
       [](Weights& w) { w.head.weight = Weight(w.head.weight.Decode()); }},
      {"activations that were not rounded",
       [](Weights& w) { w.blocks[0].linears[kQ].activations = ActivationFormat{.bits = 8}; }},
      {"activations that were rounded",
       [](Weights& w) { w.blocks[1].linears[kQ].activations.reset(); }},
      {"the head's activations",
       [](Weights& w) { w.head.activations = ActivationFormat{.bits = 8}; }},
      {"the bits of activations", [=](Weights& w) { format(w).bits = 7; }},
      {"the reach of their scale", [=](Weights& w) { format(w).per_token = false; }},
      {"their static scale", [=](Weights& w) { format(w).static_scale = 0.1f; }},
      {"their groups", [=](Weights& w) { format(w).group = 32; }},
      {"their format", [=](Weights& w) { format(w).format = FindFormat("fp8_e4m3"); }},
      {"their outliers", [=](Weights& w) { format(w).outliers = OutlierRule{}; }},
      {"the outliers' threshold", [=](Weights& w) { format(w).outliers = OutlierRule{5}; }},
      {"the outliers' weights",
       [=](Weights& w) {
         format(w).outliers = OutlierRule{6, OutlierRule::Weights::kInt8};
       }},
      {"the numbers that are kept for outliers",
       [=](Weights& w) {
         Linear& q = w.blocks[1].linears[kQ];
         q.outlier_weights = OutlierWeights(q.weight, "q");
       }},
      {"their static scale, by a hair", [=](Weights& w) { format(w).static_scale = 0.10000001f; }},
  };
  return changes;
}

TEST_CASE("hash: changes with everything that quantizing may change", "[hash_quantized]") {
  const ModelWeights weights = SomeChanged();
  std::map<std::string, std::string> seen = {{HashQuantized(weights), "nothing"}};
  CHECK(HashQuantized(SomeChanged()) == seen.begin()->first);
  for (const auto& [what, change] : Changes()) {
    ModelWeights changed = weights;
    change(changed);
    const auto [place, is_new] = seen.emplace(HashQuantized(changed), what);
    INFO(what << " hashes as " << place->second);
    CHECK(is_new);
  }
}

TEST_CASE("hash: FP16 numbers of its own count by their values", "[hash_quantized]") {
  ModelWeights half = LoadTiny({.dtype = "F16"}), wide = half;
  Linear &down = half.blocks[0].linears[kDown], &same = wide.blocks[0].linears[kDown];
  const std::string before = HashQuantized(half);
  down.weight = Weight::RoundedToHalf(down.weight.Decode().view(), "w");
  CHECK(HashQuantized(half) != before);
  same.weight = Weight(down.weight.Decode());
  CHECK(HashQuantized(half) == HashQuantized(wide));
}

TEST_CASE("hash: a checkpoint of its own counts where its numbers are not the original's",
          "[hash_quantized]") {
  const ModelWeights original = LoadTiny({});
  ModelWeights made = original, read = original;
  Matrix<float> values = made.head.weight.Decode();
  values(1, 1) += 1;
  made.head.weight = Weight(std::move(values));
  CHECK(HashQuantized(read, &original) == HashQuantized(original));
  CHECK(HashQuantized(made) != HashQuantized(original));
  const Matrix<float> numbers = made.head.weight.Decode();
  const size_t rows = numbers.rows(), cols = numbers.cols();
  const Tensor tensor{"lm_head.weight",
                      DType::kF32,
                      {rows, cols},
                      reinterpret_cast<const std::byte*>(numbers.data()),
                      rows * cols * sizeof(float)};
  read.head.weight = Weight(tensor);
  CHECK_FALSE(read.head.weight.owned());
  CHECK(HashQuantized(read) == HashQuantized(original));
  CHECK(HashQuantized(read, &original) == HashQuantized(made));
}

}  // namespace
}  // namespace quantref
