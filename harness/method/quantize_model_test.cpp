#include "harness/method/quantize_model.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "harness/base/error.h"
#include "harness/model/plan_model.h"
#include "harness/model/transformer.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "harness/testing/tiny_spec.h"

namespace quantref {
namespace {

using testing::FileTensors;
using testing::Kept;
using testing::Spec;
using testing::TempDir;
using testing::TinyModel;
using testing::WithBits;
using Names = std::vector<std::string>;

// Rounds to nearest and counts.
class CountingRounder : public Rounder {
 public:
  std::string_view name() const override { return "counting"; }
  std::string_view summary() const override { return "for this test"; }
  Rounded Round(const RoundInput& input) const override {
    ++calls;
    return {RoundToNearest(input.weights, input.scheme)};
  }
  mutable std::atomic<int> calls{0};
};

struct Loaded : ModelWeights {
  ModelConfig config;
};

// The weights stay mapped when the folder is gone.
Loaded Load(const TinyModel& model, const FileTensors& tensors) {
  const TempDir dir;
  testing::WriteFile(dir / "config.json", testing::TinyConfig(model).dump());
  testing::WriteTensors(dir.path(), tensors);
  const ModelConfig config = ReadConfig(dir / "config.json");
  return {LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1), config};
}
Loaded Load(const TinyModel& model) { return Load(model, testing::TinyTensors(model)); }

// Without calibration the model's shape does not matter.
QuantizedModel Quantize(const ModelWeights& weights, const std::vector<PlannedLinear>& plan,
                        const Rounder& rounder, const QuantizeOptions& options) {
  Method method;
  method.rounder = &rounder;
  return QuantizeModel({}, weights, plan, method, nullptr, options);
}
QuantizedModel Quantize(const Loaded& model, const QuantizeSpec& spec, size_t threads = 1) {
  return Quantize(model, PlanModel(spec, model.config), CountingRounder(), {threads});
}

// The hashes of the quantized linears, in order; "kept" for the others.
Names Hashes(const ModelWeights& weights) {
  Names hashes;
  for (const Linear* linear : AllLinears(weights)) {
    hashes.push_back(linear->weight.quantized() ? linear->weight.packed()->Sha256() : "kept");
  }
  return hashes;
}

TEST_CASE("quantize_model: quantizes what the plan says and no more", "[quantize_model]") {
  const Loaded weights = Load({.attention_bias = true});
  QuantizeSpec spec = Spec();
  spec.overrides = {WithBits("layers.1.*", 3), Kept("*.o_proj")};
  const QuantizedModel quantized = Quantize(weights, spec);
  const std::vector<const Linear*> before = AllLinears(weights),
                                   after = AllLinears(quantized.weights);
  for (size_t i = 0; i < before.size(); ++i) {
    INFO(before[i]->name);
    CHECK(after[i]->name == before[i]->name);
    CHECK(after[i]->bias == before[i]->bias);
    CHECK_FALSE(before[i]->weight.quantized());
    const bool kept = i == 0 || i + 1 == before.size() || before[i]->name.ends_with("o_proj");
    CHECK(after[i]->weight.quantized() != kept);
    if (kept) {
      CHECK(after[i]->weight.SharesStorage(before[i]->weight));
      continue;
    }
    WeightScheme scheme = spec.weights;
    scheme.bits = before[i]->name.starts_with("layers.1.") ? 3 : 4;
    CHECK(after[i]->weight.packed()->Sha256() ==
          RoundToNearest(before[i]->weight.Decode().view(), scheme).Sha256());
  }
}

// The same function with a residual stream 2^-shift as large, which changes no bit of what leaves
// the norms.
FileTensors WithSmallStream(FileTensors tensors, int shift) {
  for (auto& [name, tensor] : tensors) {
    const bool writes = name.ends_with("embed_tokens.weight") || name.ends_with("o_proj.weight") ||
                        name.ends_with("down_proj.weight");
    if (!writes) continue;
    std::vector<float> values(tensor.bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    for (float& value : values) value = std::ldexp(value, -shift);
    tensor.bytes = testing::Stored(values, "F32");
  }
  return tensors;
}

TEST_CASE("quantize_model: the size of the residual stream does not matter", "[quantize_model]") {
  const TempDir dir;
  testing::WriteFile(dir / "config.json", testing::TinyConfig({}).dump());
  ModelConfig config = ReadConfig(dir / "config.json");
  const double eps = config.rms_eps;
  const std::vector<uint32_t> ids = {1, 5, 9, 33, 2, 7};
  std::vector<float> expected;
  for (const int shift : {0, 8, 14, 24}) {
    INFO("2^-" << shift);
    config.rms_eps = std::ldexp(eps, -2 * shift);
    const Loaded weights = Load({}, WithSmallStream(testing::TinyTensors({}), shift));
    QuantizeSpec spec = Spec({"lm_head"});
    spec.weights = {.bits = 8, .granularity = Granularity::kRow, .symmetric = true};
    QuantizedModel quantized = Quantize(weights, spec);
    for (BlockWeights& block : quantized.weights.blocks) block = WithKernels(block);
    Workspace work;
    const Matrix<float> hidden = Transformer(config, quantized.weights, 8).Hidden(ids, work);
    const std::vector<float> found(hidden.data(), hidden.data() + hidden.rows() * hidden.cols());
    if (shift == 0) expected = found;
    CHECK(found == expected);
    const std::string& note = quantized.layers.back().note;  // of the last down_proj
    CHECK((note.find("scales times 2^-") != std::string::npos) == (shift > 0));
  }
}

TEST_CASE("quantize_model: reports each quantized linear in order", "[quantize_model]") {
  const Loaded weights = Load({});
  QuantizeSpec spec = Spec({"lm_head"});
  spec.overrides = {WithBits("*.v_proj", 8), Kept("*.q_proj")};
  const QuantizedModel quantized = Quantize(weights, spec);
  REQUIRE(quantized.layers.size() == 13);
  CHECK(quantized.layers[0].name == "embed_tokens");
  CHECK(quantized.layers[1].name == "layers.0.self_attn.k_proj");
  CHECK(quantized.layers[12].name == "layers.1.mlp.down_proj");
  const LayerReport& report = quantized.layers[2];
  CHECK(report.name == "layers.0.self_attn.v_proj");
  CHECK(report.scheme.bits == 8);
  CHECK(report.effective_bits == 8 + (16 + 8) / 16.0);
  CHECK(report.seconds >= 0);
  const Matrix<float> values = weights.blocks[0].linears[kV].weight.Decode();
  const Matrix<float> decoded = quantized.weights.blocks[0].linears[kV].weight.Decode();
  double squares = 0;
  for (size_t i = 0; i < 16 * 32; ++i) {
    const double error =
        static_cast<double>(values.data()[i]) - static_cast<double>(decoded.data()[i]);
    squares += error * error;
  }
  CHECK(report.weight_mse == Approx(squares / (16 * 32)).epsilon(1e-12));
  CHECK(report.weight_mse > 0);
  CHECK(report.weight_mse < quantized.layers[1].weight_mse);
}

TEST_CASE("quantize_model: a tied head follows the embedding", "[quantize_model]") {
  const Loaded weights = Load({.tied = true});
  const QuantizedModel quantized = Quantize(weights, Spec({}));
  CHECK(quantized.weights.embedding.weight.quantized());
  CHECK(quantized.weights.head.weight.SharesStorage(quantized.weights.embedding.weight));
  CHECK(quantized.weights.head.name == "lm_head");
  const QuantizedModel kept = Quantize(weights, Spec());
  CHECK(kept.weights.head.weight.SharesStorage(weights.embedding.weight));
  // An untied head goes its own way.
  const QuantizedModel untied = Quantize(Load({}), Spec({"embed_tokens"}));
  CHECK_FALSE(untied.weights.embedding.weight.quantized());
  CHECK(untied.weights.head.weight.quantized());
}

TEST_CASE("quantize_model: effective bits by hand", "[quantize_model]") {
  // q and o, k and v, gate and up and down: of one block.
  constexpr double kDown = 48 * 32, kBlock = 2 * 32 * 32 + 2 * 16 * 32 + 3 * kDown,
                   kTable = 64 * 32;
  constexpr double kBits = 4 + (16 + 4) / 16.0;  // with a scale and a zero point a group of 16
  const auto check = [](const EffectiveBits& bits, double blocks, double model) {
    CHECK(bits.blocks == Approx(blocks).epsilon(1e-12));
    CHECK(bits.model == Approx(model).epsilon(1e-12));
  };
  const Loaded f16 = Load({.dtype = "F16"}), tied = Load({.tied = true, .dtype = "F16"});
  check(MeasureBits(f16), 16, 16);
  check(MeasureBits(Load({})), 32, 32);
  check(MeasureBits(Quantize(f16, Spec()).weights), kBits,
        (2 * kBlock * kBits + 2 * kTable * 16) / (2 * kBlock + 2 * kTable));
  check(MeasureBits(Quantize(tied, Spec()).weights), kBits,
        (2 * kBlock * kBits + kTable * 16) / (2 * kBlock + kTable));
  check(MeasureBits(Quantize(tied, Spec({})).weights), kBits, kBits);
  // A kept linear of a block counts with its 16 bits; the head counts once it is quantized.
  QuantizeSpec spec = Spec({"embed_tokens"});
  spec.overrides = {Kept("layers.*.down_proj"), WithBits("lm_head", 8)};
  const double blocks = 2 * ((kBlock - kDown) * kBits + kDown * 16) + kTable * (8 + 24 / 16.0);
  check(MeasureBits(Quantize(f16, spec).weights), blocks / (2 * kBlock + kTable),
        (blocks + kTable * 16) / (2 * kBlock + 2 * kTable));
}

TEST_CASE("quantize_model: the result does not depend on the threads", "[quantize_model]") {
  const Loaded weights = Load({.layers = 5});
  const QuantizedModel one = Quantize(weights, Spec({}));
  const Names hashes = Hashes(one.weights);
  CHECK(std::count(hashes.begin(), hashes.end(), "kept") == 0);
  for (const size_t threads : {1, 2, 4}) {
    const QuantizedModel other = Quantize(weights, Spec({}), threads);
    CHECK(Hashes(other.weights) == hashes);
    REQUIRE(other.layers.size() == one.layers.size());
    for (size_t i = 0; i < one.layers.size(); ++i) {
      CHECK(other.layers[i].name == one.layers[i].name);
      CHECK(other.layers[i].weight_mse == one.layers[i].weight_mse);
    }
  }
}

TEST_CASE("quantize_model: progress counts up to the total, one call at a time",
          "[quantize_model]") {
  const Loaded weights = Load({});
  for (const size_t threads : {1, 4}) {
    std::vector<size_t> counts;
    bool right_total = true, overlapped = false;
    std::atomic<int> inside{0};
    Quantize(weights, PlanModel(Spec(), weights.config), CountingRounder(),
             {threads, [&](size_t done, size_t total, std::string_view) {
                overlapped |= inside++ != 0;
                std::this_thread::sleep_for(std::chrono::milliseconds(1));  // time to collide
                counts.push_back(done);
                right_total &= total == 14;
                --inside;
              }});
    std::vector<size_t> expected(14);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] = i + 1;
    CHECK(counts == expected);
    CHECK(right_total);
    CHECK_FALSE(overlapped);
  }
}

TEST_CASE("quantize_model: an exception from progress stops the work", "[quantize_model]") {
  const Loaded weights = Load({.layers = 10});
  for (const size_t threads : {1, 3}) {
    const CountingRounder rounder;
    const auto stop_at_three = [](size_t done, size_t, std::string_view) {
      if (done == 3) throw Interrupted("stopped", "");
    };
    CHECK_THROWS_AS(
        Quantize(weights, PlanModel(Spec(), weights.config), rounder, {threads, stop_at_three}),
        Interrupted);
    // Of 70 linears: the three, and what the other threads had begun or took up meanwhile.
    if (threads == 1) CHECK(rounder.calls == 3);
    CHECK(rounder.calls < 70);
  }
}

TEST_CASE("quantize_model: an error names the linear and the method", "[quantize_model]") {
  const TinyModel model;
  FileTensors tensors = testing::TinyTensors(model);
  std::vector<float> huge(48 * 32, 0.5f);
  huge[1000] = 3e38f;
  tensors["model.layers.1.mlp.up_proj.weight"].bytes = testing::Stored(huge, "F32");
  const Loaded weights = Load(model, tensors);
  for (const size_t threads : {1, 4}) {
    CHECK_ERROR(Quantize(weights, Spec(), threads), "layers.1.mlp.up_proj",
                "counting cannot round it", "does not fit FP16");
  }
  QuantizeSpec spec = Spec();
  spec.overrides = {Kept("layers.1.mlp.up_proj")};
  CHECK_NOTHROW(Quantize(weights, spec));
}

// Throws what a rounder may throw.
class FailingRounder final : public CountingRounder {
 public:
  explicit FailingRounder(bool interrupted) : interrupted_(interrupted) {}
  Rounded Round(const RoundInput& input) const override {
    if (interrupted_) throw Interrupted("stopped", "here");
    throw Error("odd weights", std::string(input.name) + ", row 3", "use even ones");
  }

 private:
  bool interrupted_;
};

TEST_CASE("quantize_model: a rounder's error keeps its hint; a stop stays a stop",
          "[quantize_model]") {
  const Loaded weights = Load({});
  const std::vector<PlannedLinear> plan = PlanModel(Spec(), weights.config);
  CHECK_ERROR(Quantize(weights, plan, FailingRounder(false), {}), "layers.0.self_attn.q_proj",
              "counting cannot round it: odd weights", "use even ones");
  CHECK_THROWS_AS(Quantize(weights, plan, FailingRounder(true), {}), Interrupted);
}

}  // namespace
}  // namespace quantref
