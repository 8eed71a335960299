#include "quantizers/quarot.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness/method/kept_model.h"
#include "harness/method/quantize_model.h"
#include "harness/method/reshape_model.h"
#include "harness/model/families_testing.h"
#include "harness/model/model_testing.h"
#include "harness/model/plan_model.h"
#include "harness/model/transformer.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

namespace quantref {
namespace {

using testing::GoldenModel;
using testing::GoldenModels;
using testing::LargestDifference;
using testing::LogitsOf;

Knobs RotationKnobs(std::initializer_list<std::pair<const char*, double>> values = {}) {
  Knobs knobs(QuaRot().knobs());
  for (const auto& [name, value] : values) knobs.Set(name, value);
  return knobs;
}

// A LLaMA with a tied head.
const GoldenModel& TiedGolden() {
  for (const GoldenModel& golden : GoldenModels()) {
    if (golden.name == "gqa_tied_bf16") return golden;
  }
  FAIL("there is no such model");
  return GoldenModels().front();
}

// How far the logits of the rotated model are from `logits`, the golden one's.
double ChangeOfLogits(const GoldenModel& golden, const Matrix<float>& logits, const Knobs& knobs) {
  const QuaRot quarot;
  ModelWeights rotated = golden.weights;
  quarot.Apply(golden.config, knobs, 2, rotated);
  const ModelConfig after = quarot.Reshape(golden.config, knobs);
  return LargestDifference(logits.view(), LogitsOf(after, rotated, golden.ids).view());
}

TEST_CASE("quarot: the logits of every family stay the same", "[quarot]") {
  size_t rotated = 0;
  for (const GoldenModel& golden : GoldenModels()) {
    INFO(golden.name);
    const bool post_norms = golden.config.family->post_norms;
    const Matrix<float> logits = LogitsOf(golden.config, golden.weights, golden.ids);
    for (const double residual : {1.0, 0.0}) {
      if (post_norms && residual != 0) continue;
      for (const double online : {1.0, 0.0}) {
        for (const double block : {0.0, 4.0, 8.0}) {
          INFO("residual " << residual << ", online " << online << ", block " << block);
          const Knobs knobs = RotationKnobs(
              {{"residual", residual}, {"online", online}, {"block", block}, {"seed", 3}});
          CHECK(ChangeOfLogits(golden, logits, knobs) < 1e-3);
          ++rotated;
        }
      }
    }
  }
  CHECK(rotated > 100);
}

TEST_CASE("quarot: every matrix of the model changes, and the seed says how", "[quarot]") {
  const GoldenModel& golden = TiedGolden();
  const auto rotate = [&](double seed) {
    ModelWeights weights = golden.weights;
    QuaRot().Apply(golden.config, RotationKnobs({{"seed", seed}}), 1, weights);
    return weights;
  };
  const ModelWeights once = rotate(0), again = rotate(0), other = rotate(1);
  CHECK(HashQuantized(once) == HashQuantized(again));
  CHECK(HashQuantized(once) != HashQuantized(other));
  auto before = AllLinears(golden.weights);
  before.push_back(&golden.weights.head);  // no longer the embedding
  const auto after = AllLinears(once);
  REQUIRE(before.size() == after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    INFO(before[i]->name);
    CHECK(LargestDifference(before[i]->weight.Decode().view(), after[i]->weight.Decode().view()) >
          1e-3);
  }
  for (const BlockWeights& block : once.blocks) {
    for (const NormIndex norm : {kAttentionNorm, kMlpNorm})
      for (const float gain : block.norms[norm]) CHECK(gain == 1);
  }
}

// testdata/quarot.json, from scripts/goldens/quarot_torch.py: rows of every matrix.
TEST_CASE("quarot: every matrix is that of PyTorch", "[quarot][golden]") {
  const nlohmann::json golden =
      ReadJsonFile(testing::SourceDir() / "quantizers/testdata/quarot.json");
  ModelWeights weights = TiedGolden().weights;
  const Knobs knobs = RotationKnobs({{"seed", golden.at("seed").get<double>()}});
  QuaRot().Apply(TiedGolden().config, knobs, 1, weights);
  size_t matrices = 0;
  for (const Linear* linear : AllLinears(weights)) {
    INFO(linear->name);
    const Matrix<float> found = linear->weight.Decode();
    double worst = 0;
    for (const auto& [row, numbers] : golden.at("rows").at(linear->name).items()) {
      const auto expected = numbers.get<std::vector<double>>();
      REQUIRE(expected.size() == found.cols());
      for (size_t c = 0; c < expected.size(); ++c) {
        const double number = static_cast<double>(found(std::stoul(row), c));
        testing::KeepWorst(std::fabs(number - expected[c]), worst);
      }
    }
    CHECK(worst < 1e-6);  // numbers are about 1/2
    ++matrices;
  }
  CHECK(matrices == golden.at("rows").size());
}

TEST_CASE("quarot: a loud channel is spread over all", "[quarot]") {
  GoldenModel golden = TiedGolden();
  BlockWeights& block = golden.weights.blocks[0];
  block.norms[kAttentionNorm][5] *= 100;
  const auto peak = [&](const ModelConfig& config, const ModelWeights& weights) {
    const Transformer model(config, weights, golden.ids.size());
    Workspace work;
    double largest = 0, squares = 0, count = 0;
    model.Hidden(golden.ids, work, [&](size_t layer, Tap tap, MatrixView<const float> x) {
      if (layer != 0 || tap != Tap::kAttentionInput) return;
      for (size_t t = 0; t < x.rows(); ++t) {
        for (const float value : x.row_span(t)) {
          largest = std::max(largest, std::fabs(static_cast<double>(value)));
          squares += static_cast<double>(value) * static_cast<double>(value);
          ++count;
        }
      }
    });
    return largest / std::sqrt(squares / count);
  };
  ModelWeights rotated = golden.weights;
  QuaRot().Apply(golden.config, RotationKnobs(), 1, rotated);
  CHECK(peak(golden.config, golden.weights) > 5);
  CHECK(peak(QuaRot().Reshape(golden.config, RotationKnobs()), rotated) < 4.5);
}

ModelConfig ShapeOfSizes(size_t hidden, size_t intermediate, size_t heads, size_t head_dim) {
  ModelConfig config;
  config.hidden = hidden;
  config.intermediate = intermediate;
  config.heads = config.kv_heads = heads;
  config.head_dim = head_dim;
  config.layers.resize(1);
  config.tied_head = true;
  return config;
}

TEST_CASE("quarot: which rotations a model gets", "[quarot]") {
  const auto layer = [](const ModelConfig& config, const Knobs& knobs) {
    return QuaRot().Reshape(config, knobs).layers[0];
  };
  const ModelConfig llama = ShapeOfSizes(4096, 11008, 32, 128);
  CHECK(layer(llama, RotationKnobs()).attention_rotation == Rotation{32, 128});
  CHECK(layer(llama, RotationKnobs()).mlp_rotation == Rotation{11008, 1});
  CHECK_FALSE(QuaRot().Reshape(llama, RotationKnobs()).tied_head);
  CHECK(QuaRot().Reshape(llama, RotationKnobs({{"residual", 0}})).tied_head);
  // There is no matrix for nine heads, but one for their 576 channels.
  const ModelConfig smol = ShapeOfSizes(576, 1536, 9, 64);
  CHECK(layer(smol, RotationKnobs()).attention_rotation == Rotation{576, 1});
  CHECK(layer(smol, RotationKnobs({{"block", 64}})).attention_rotation == Rotation{});
  CHECK(layer(smol, RotationKnobs({{"block", 64}})).mlp_rotation == Rotation{64, 1});
  CHECK(layer(llama, RotationKnobs({{"block", 256}})).attention_rotation == Rotation{2, 128});
  CHECK(layer(llama, RotationKnobs({{"online", 0}})).mlp_rotation == Rotation{});
}

TEST_CASE("quarot: what cannot be rotated is refused with the reason", "[quarot]") {
  const auto reshape = [](const ModelConfig& config, const Knobs& knobs) {
    return QuaRot().Reshape(config, knobs);
  };
  CHECK_ERROR(reshape(ShapeOfSizes(576, 1536, 9, 64), RotationKnobs({{"block", 128}})),
              "blocks of 128 do not divide the 576 channels of the residual stream",
              "quarot.block");
  CHECK_ERROR(reshape(ShapeOfSizes(64, 188, 4, 16), RotationKnobs()), "order 188", "the MLP");
  CHECK_ERROR(reshape(ShapeOfSizes(6, 12, 1, 6), RotationKnobs()), "order 6",
              "the residual stream");
  ModelConfig gemma = ShapeOfSizes(64, 64, 4, 16);
  gemma.family = FindFamily("gemma2");
  gemma.model_type = "gemma2";
  CHECK_ERROR(reshape(gemma, RotationKnobs()), "gemma2", "norms behind attention and MLP",
              "residual: false");
  CHECK_NOTHROW(reshape(gemma, RotationKnobs({{"residual", 0}})));
}

Method RotatedMethod(const char* transform, const char* rounder) {
  Method method;
  method.model_transforms = {FindModelTransform("quarot")};
  if (transform[0] != '\0') method.transforms = {FindTransform(transform)};
  method.rounder = FindRounder(rounder);
  method.knobs.insert_or_assign("awq", testing::FewCandidates());
  return method;
}

struct RotatedRun {
  ModelConfig shape;
  std::vector<PlannedLinear> plan;
  QuantizedModel model;
};

RotatedRun QuantizeRotated(const GoldenModel& golden, const Method& method,
                           const QuantizeSpec& spec, size_t threads = 2) {
  RotatedRun run{method.ModelAfter(golden.config), {}, {}};
  run.plan = PlanModel(spec, run.shape);
  CalibrationData data;
  data.samples = {golden.ids, golden.ids};
  const bool calibrates = method.Needs(run.plan).Any();
  run.model = QuantizeModel(golden.config, golden.weights, run.plan, method,
                            calibrates ? &data : nullptr, {.threads = threads});
  return run;
}

TEST_CASE("quarot: composes with transforms and rounders on every family", "[quarot]") {
  QuantizeSpec spec;
  spec.weights = {.bits = 8, .group = 8};
  for (const GoldenModel& golden : GoldenModels()) {
    if (golden.config.family->post_norms) continue;
    const Matrix<float> expected = LogitsOf(golden.config, golden.weights, golden.ids);
    for (const char* transform : {"", "smoothquant", "awq"}) {
      for (const char* rounder : {"rtn", "gptq"}) {
        INFO(golden.name << ": quarot+" << transform << "+" << rounder);
        const RotatedRun run = QuantizeRotated(golden, RotatedMethod(transform, rounder), spec);
        CHECK(testing::RelativeChange(expected,
                                      LogitsOf(run.shape, run.model.weights, golden.ids)) < 0.1);
      }
    }
  }
}

TEST_CASE("quarot: what is kept is stored as before, and the head by itself", "[quarot]") {
  QuantizeSpec spec;
  spec.weights = {.bits = 4, .group = 8};
  spec.keep.emplace_back("layers.0.*");
  for (const GoldenModel& golden : GoldenModels()) {
    if (golden.config.family->post_norms) continue;
    INFO(golden.name);
    const RotatedRun run = QuantizeRotated(golden, RotatedMethod("", "rtn"), spec);
    CHECK(run.plan.back().shape.name == kHeadName);
    const auto before = AllLinears(golden.weights);
    const auto after = AllLinears(run.model.weights);
    for (size_t i = 0; i < after.size(); ++i) {
      if (run.plan[i].scheme) continue;
      const bool halves = before[std::min(i, before.size() - 1)]->weight.stored_in_16_bits();
      CHECK(after[i]->weight.stored_in_16_bits() == halves);
    }
    CHECK_FALSE(run.model.weights.head.weight.SharesStorage(run.model.weights.embedding.weight));
    CHECK(HashQuantized(QuantizeRotated(golden, RotatedMethod("", "rtn"), spec, 1).model.weights) ==
          HashQuantized(run.model.weights));
  }
}

TEST_CASE("quarot: a rotated cell is kept for a run that goes on", "[quarot]") {
  QuantizeSpec spec;
  spec.weights = {.bits = 4, .group = 8};
  size_t kept = 0;
  for (const GoldenModel& golden : GoldenModels()) {
    if (golden.config.family->post_norms) continue;
    INFO(golden.name);
    const RotatedRun run = QuantizeRotated(golden, RotatedMethod("awq", "rtn"), spec);
    std::string bytes;
    const bool written = WriteModel(golden.weights, run.plan, run.model,
                                    [&](std::string_view piece) { bytes += piece; });
    CHECK(written == (golden.weights.positions == nullptr));
    if (!written) continue;
    const auto read = ReadModel(bytes, golden.weights, run.plan, 1);
    REQUIRE(read);
    CHECK(HashQuantized(read->weights) == HashQuantized(run.model.weights));
    CHECK(LargestDifference(LogitsOf(run.shape, run.model.weights, golden.ids).view(),
                            LogitsOf(run.shape, read->weights, golden.ids).view()) == 0);
    ++kept;
  }
  CHECK(kept > 5);
}

TEST_CASE("quarot: cells beside it come out as alone", "[quarot]") {
  const GoldenModel& golden = TiedGolden();
  QuantizeSpec spec;
  spec.weights = {.bits = 4, .group = 8};
  CalibrationData data;
  data.samples = {golden.ids, golden.ids};
  Method plain, rotated = RotatedMethod("", "gptq"), awq = RotatedMethod("awq", "rtn");
  plain.rounder = FindRounder("gptq");
  const std::vector<Method> methods = {plain, rotated, awq};
  std::vector<std::vector<PlannedLinear>> plans;
  for (const Method& method : methods)
    plans.push_back(PlanModel(spec, method.ModelAfter(golden.config)));
  std::vector<QuantizeTask> tasks;
  for (size_t i = 0; i < methods.size(); ++i) tasks.push_back({plans[i], methods[i], &data});
  std::vector<std::string> hashes(tasks.size());
  size_t done = 0, total = 0;
  QuantizeModels(
      golden.config, golden.weights, tasks, 2,
      {.progress = [&](size_t d, size_t t, std::string_view) { done = d, total = t; },
       .finished = [&](size_t task,
                       QuantizedModel model) { hashes[task] = HashQuantized(model.weights); },
       .failed = {}});
  CHECK(done == total);
  for (size_t i = 0; i < tasks.size(); ++i) {
    const QuantizedModel alone =
        QuantizeModel(golden.config, golden.weights, plans[i], methods[i], &data, {});
    CHECK(hashes[i] == HashQuantized(alone.weights));
  }
}

TEST_CASE("quarot: the cache and chunks agree with the whole window", "[quarot]") {
  const GoldenModel& golden = TiedGolden();
  ModelWeights weights = golden.weights;
  QuaRot().Apply(golden.config, RotationKnobs(), 1, weights);
  const ModelConfig config = QuaRot().Reshape(golden.config, RotationKnobs());
  const Transformer model(config, weights, golden.ids.size());
  Workspace work;
  KvCache cache(config, golden.ids.size());
  const Matrix<float> whole = model.Hidden(golden.ids, work);
  MatrixView<const float> last;
  for (size_t t = 0; t < golden.ids.size(); ++t)
    last = model.Extend(std::span(golden.ids).subspan(t, 1), cache, work);
  CHECK(LargestDifference(last, whole.view().Rows(whole.rows() - 1, 1)) < 1e-4);
  CHECK(config.ForwardFlops(10, 1) > golden.config.ForwardFlops(10, 1));
}

}  // namespace
}  // namespace quantref
