#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "harness/base/rng.h"
#include "harness/method/quantize_model.h"
#include "harness/model/transformer.h"
#include "harness/quant/grid.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// In which layout a quantized model keeps its codes (QuantizeOptions::products), and that nothing
// else depends on it.

namespace quantref {
namespace {

using Names = std::vector<std::string>;

class NearestRounder : public Rounder {
 public:
  explicit NearestRounder(bool true_sequential = false) : true_sequential_(true_sequential) {}
  std::string_view name() const override { return "nearest"; }
  std::string_view summary() const override { return "for this test"; }
  DataNeeds needs(const Knobs&) const override {
    return {.channel_mean = true, .true_sequential = true_sequential_};
  }
  Rounded Round(const RoundInput& input) const override {
    return {RoundToNearest(input.weights, input.scheme, input.limits)};
  }

 private:
  bool true_sequential_;
};

struct QuantizedBlock {
  explicit QuantizedBlock(bool tied = false) {
    const testing::TempDir dir;
    testing::WriteTinyModel(dir.path(), {.tied = tied});
    config = ReadConfig(dir / "config.json");
    weights = LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
    Rng rng(1);
    for (std::vector<uint32_t>& sample : data.samples)
      sample = testing::RandomIds(10, config.vocab, rng);
    spec.weights.group = 8;
    spec.keep = {"*.q_proj"};
    SchemeOverride& column = spec.overrides.emplace_back();
    column.match = "*.o_proj";
    column.granularity = Granularity::kColumn;
  }

  QuantizedModel Quantize(const Rounder& rounder, Products products, bool calibrated) const {
    Method method;
    method.rounder = &rounder;
    return QuantizeModel(config, weights, PlanModel(spec, config), method,
                         calibrated ? &data : nullptr, {.threads = 2, .products = products});
  }

  ModelConfig config;
  ModelWeights weights;
  CalibrationData data{.samples = std::vector<std::vector<uint32_t>>(6)};
  QuantizeSpec spec;
};

// Rounds without looking at anything.
class BlindRounder final : public NearestRounder {
 public:
  DataNeeds needs(const Knobs&) const override { return {}; }
};

TEST_CASE("products: for the kernels codes are kept in their layout alone") {
  const std::vector<uint32_t> ids = {1, 5, 9, 33, 2, 7};
  const BlindRounder rounder;
  for (const bool tied : {false, true}) {
    const QuantizedBlock fixture(tied);
    const QuantizedModel packed = fixture.Quantize(rounder, Products::kSimulated, false);
    const QuantizedModel tiled = fixture.Quantize(rounder, Products::kKernel, false);
    const BlockWeights& block = tiled.weights.blocks[1];
    CHECK(block.linears[kDown].weight.tiled() != nullptr);
    CHECK(block.linears[kDown].weight.packed() == nullptr);
    CHECK(block.linears[kO].weight.packed() != nullptr);
    CHECK_FALSE(block.linears[kQ].weight.quantized());
    CHECK(tiled.weights.head.weight.tiled() != nullptr);
    CHECK((tiled.weights.embedding.weight.tiled() != nullptr) == tied);
    CHECK(packed.weights.blocks[1].linears[kDown].weight.packed() != nullptr);
    CHECK(HashQuantized(tiled.weights) == HashQuantized(packed.weights));
    CHECK(MeasureBits(tiled.weights).model == MeasureBits(packed.weights).model);
    CHECK(DecodedEachCall(tiled.weights) ==
          Names{"layers.0.self_attn.o_proj", "layers.1.self_attn.o_proj"});
    // Decoded, both are the same model.
    Workspace work;
    const auto hidden = [&](const QuantizedModel& model) {
      const Matrix<float> h =
          Transformer(fixture.config, model.weights, 8, Products::kSimulated).Hidden(ids, work);
      return std::vector<float>(h.data(), h.data() + h.rows() * h.cols());
    };
    CHECK(hidden(tiled) == hidden(packed));
  }
}

TEST_CASE("products: what calibration sees and reports does not depend on the layout") {
  QuantizedBlock fixture;
  const NearestRounder together, tap_by_tap(true);
  for (const NearestRounder* rounder : {&together, &tap_by_tap}) {
    for (const bool sequential : {false, true}) {
      fixture.data.sequential = sequential;
      const QuantizedModel packed = fixture.Quantize(*rounder, Products::kSimulated, true);
      const QuantizedModel tiled = fixture.Quantize(*rounder, Products::kKernel, true);
      CHECK(tiled.weights.blocks[0].linears[kUp].weight.packed() == nullptr);
      CHECK(packed.weights.blocks[0].linears[kUp].weight.packed() != nullptr);
      CHECK(HashQuantized(tiled.weights) == HashQuantized(packed.weights));
      REQUIRE(tiled.layers.size() == packed.layers.size());
      for (size_t i = 0; i < tiled.layers.size(); ++i) {
        CHECK(tiled.layers[i].packed_sha256 == packed.layers[i].packed_sha256);
        CHECK(tiled.layers[i].output_mse == packed.layers[i].output_mse);
      }
    }
  }
}

}  // namespace
}  // namespace quantref
