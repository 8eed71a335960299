#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "harness/base/team.h"
#include "harness/model/families_testing.h"
#include "harness/model/model_testing.h"
#include "harness/model/plan_model.h"
#include "harness/model/synthetic.h"

// What holds for a model of any family, on the golden checkpoints, whose logits
// transformer_test.cpp compares. What methods do to them: quantizers/families_test.cpp.

namespace quantref {
namespace {

using testing::GoldenModel;
using testing::GoldenModels;
using testing::Logits;
using testing::SameBits;

TEST_CASE("families: each has a golden checkpoint", "[families]") {
  std::set<std::string_view> missing;
  for (const Family& family : Families()) missing.insert(family.model_type);
  for (const GoldenModel& golden : GoldenModels()) missing.erase(golden.config.family->model_type);
  CHECK(missing.empty());
}

TEST_CASE("families: a text in several calls is the text in one", "[families]") {
  for (const GoldenModel& golden : GoldenModels()) {
    const RopeScaling& scaling = golden.config.rope_scaling;
    // There cached keys keep the angles of their time (extend_test.cpp).
    const size_t tokens = CommonRopeLength(golden.config, golden.ids.size());
    const std::span<const uint32_t> ids = std::span(golden.ids).first(tokens);
    const Transformer model(golden.config, golden.weights, tokens);
    Workspace work;
    const Matrix<float> expected = model.Hidden(ids, work);
    for (const size_t chunk : {size_t{1}, size_t{5}, size_t{16}, size_t{17}, tokens}) {
      INFO(golden.name << ", chunks of " << chunk << ", scaling "
                       << static_cast<int>(scaling.kind));
      KvCache cache(golden.config, tokens);
      double worst = 0;
      for (size_t first = 0; first < tokens; first += chunk) {
        const size_t count = std::min(chunk, tokens - first);
        const MatrixView<const float> found = model.Extend(ids.subspan(first, count), cache, work);
        testing::KeepWorst(testing::LargestDifference(found, expected.view().Rows(first, count)),
                           worst);
        if (chunk == tokens) CHECK(SameBits(found, expected.view()));
      }
      CHECK(worst < 5e-5);
    }
  }
}

TEST_CASE("families: a team has the bits of one thread", "[families]") {
  for (const GoldenModel& golden : GoldenModels()) {
    INFO(golden.name);
    const Transformer model(golden.config, golden.weights, golden.ids.size());
    Team team(3);
    Workspace alone, together(&team);
    const Matrix<float> expected = model.Hidden(golden.ids, alone);
    const Matrix<float> found = model.Hidden(golden.ids, together);
    CHECK(SameBits(found.view(), expected.view()));
    CHECK(SameBits(Logits(model, found.view(), together), Logits(model, expected.view(), alone)));
  }
}

TEST_CASE("families: the layout is all that there is of a block", "[families]") {
  for (const GoldenModel& golden : GoldenModels()) {
    INFO(golden.name);
    const ModelConfig& config = golden.config;
    size_t parameters = golden.weights.final_norm.size() + golden.weights.final_norm_bias.size();
    for (const Linear* linear : AllLinears(golden.weights))
      parameters += linear->weight.rows() * linear->weight.cols() + linear->bias.size();
    if (golden.weights.positions != nullptr)
      parameters += golden.weights.positions->rows() * golden.weights.positions->cols();
    for (size_t layer = 0; layer < config.layers.size(); ++layer) {
      const BlockLayout layout = LayoutOf(config, layer);
      const BlockWeights& block = golden.weights.blocks[layer];
      for (const std::vector<float>& gain : block.norms) parameters += gain.size();
      for (const std::vector<float>& bias : block.norm_biases) parameters += bias.size();
      CHECK(std::is_sorted(layout.norms.begin(), layout.norms.end(),
                           [](const auto& a, const auto& b) { return a.index < b.index; }));
      CHECK(std::is_sorted(layout.linears.begin(), layout.linears.end(),
                           [](const auto& a, const auto& b) { return a.index < b.index; }));
      for (const Tap tap : kAllTaps) {
        for (const LinearIndex reader : layout.Readers(tap))
          CHECK(layout.row(reader).cols == layout.Channels(tap));
      }
    }
    CHECK(parameters == config.Parameters());
    CHECK(PlannableLinears(config).size() == AllLinears(golden.weights).size());
  }
}

TEST_CASE("families: random weights of the same shapes can be timed", "[families]") {
  for (const GoldenModel& golden : GoldenModels()) {
    INFO(golden.name);
    const SyntheticWeights frame = MakeSyntheticFrame(golden.config, 1, 1);
    const SyntheticWeights made = MakeSyntheticReference(golden.config, frame, 1, 1);
    const Transformer model(golden.config, made.weights, golden.ids.size());
    Workspace work;
    const Matrix<float> hidden = model.Hidden(golden.ids, work);
    CHECK(std::all_of(hidden.data(), hidden.data() + hidden.rows() * hidden.cols(),
                      [](float value) { return std::isfinite(value); }));
  }
}

TEST_CASE("families: rounding to FP16 is that of the stored numbers", "[families]") {
  size_t models = 0;
  for (const GoldenModel& golden : GoldenModels()) {
    if (golden.weights.embedding.weight.dense()->type != DenseRows::Type::kFp16) continue;
    ++models;
    INFO(golden.name);
    const ModelWeights rounded =
        LoadWeights(golden.config, Checkpoint::Open(golden.dir), WeightType::kFp16, 1);
    const Transformer a(golden.config, golden.weights, 40), b(golden.config, rounded, 40);
    Workspace work;
    const Matrix<float> expected = a.Hidden(golden.ids, work);
    CHECK(SameBits(b.Hidden(golden.ids, work).view(), expected.view()));
  }
  CHECK(models > 0);
}

}  // namespace
}  // namespace quantref
