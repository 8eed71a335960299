#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "harness/kernels/dequantize.h"
#include "harness/method/quantize_model.h"
#include "harness/model/transformer.h"
#include "harness/quant/grid.h"
#include "harness/quant/quant_testing.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "quantizers/awq.h"
#include "quantizers/gptq.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

// A format with a table of levels, which no quantizer has heard of, through all of them.

namespace quantref {
namespace {

using testing::kUneven;
using testing::kWide;

PackedMatrix RoundBy(const char* rounder, MatrixView<const float> weights,
                     const WeightScheme& scheme, const Matrix<double>& gram,
                     std::initializer_list<std::pair<const char*, double>> settings = {}) {
  const Rounder& found = *FindRounder(rounder);
  Knobs knobs(found.knobs());
  for (const auto& [name, value] : settings) knobs.Set(name, value);
  InputStatistics inputs;
  inputs.gram = Matrix<double>(gram.rows(), gram.cols());
  std::copy_n(gram.data(), gram.rows() * gram.cols(), inputs.gram.data());
  return found
      .Round(
          {.name = "w", .weights = weights, .scheme = scheme, .inputs = &inputs, .knobs = &knobs})
      .packed;
}

// Whether every value is one of its grid's.
void CheckOnGrid(const PackedMatrix& packed) {
  std::vector<uint8_t> codes(packed.cols());
  Matrix<float> decoded(packed.rows(), packed.cols());
  DecodeRows(packed, 0, decoded.view());
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.GetCodes(r, codes);
    for (size_t p = 0; p < packed.cols(); ++p) {
      const Grid grid = packed.grid(packed.scales().RowOf(r), packed.scales().ColOf(p));
      const size_t c = packed.order().empty() ? p : packed.order()[p];
      const float value = packed.scheme().format->levels[codes[p]] * grid.scale();
      if (decoded(r, c) != value) FAIL("row " << r << ", column " << c);
    }
  }
}

TEST_CASE("table format: rtn is the nearest level of each scale") {
  const Matrix<float> weights = testing::NormalMatrix(9, 64, 1);
  const Matrix<double> gram = testing::GramOf(testing::CorrelatedInputs(96, 64, 2));
  for (const WeightScheme& scheme : testing::TableSchemes(16)) {
    INFO(SchemeName(scheme));
    const PackedMatrix packed = RoundBy("rtn", weights.view(), scheme, gram);
    CHECK(packed.Sha256() == RoundToNearest(weights.view(), scheme).Sha256());
    CheckOnGrid(packed);
  }
}

TEST_CASE("table format: gptq loses less than rtn, in every order of columns and groups") {
  const Matrix<float> weights = testing::NormalMatrix(24, 64, 3);
  const Matrix<double> gram = testing::GramOf(testing::CorrelatedInputs(160, 64, 4));
  for (const WeightScheme& scheme : testing::TableSchemes(16)) {
    const double rtn =
        testing::OutputError(weights.view(), RoundBy("rtn", weights.view(), scheme, gram), gram);
    for (const double act_order : {0.0, 1.0}) {
      for (const double static_groups : {0.0, 1.0}) {
        for (const double mse_clip : {0.0, 1.0}) {
          CAPTURE(SchemeName(scheme), act_order, static_groups, mse_clip);
          const PackedMatrix packed = RoundBy(
              "gptq", weights.view(), scheme, gram,
              {{"act_order", act_order}, {"static_groups", static_groups}, {"mse_clip", mse_clip}});
          CheckOnGrid(packed);
          CHECK(testing::OutputError(weights.view(), packed, gram) < 0.9 * rtn);
        }
      }
    }
  }
}

TEST_CASE("table format: every format that configs name, by gptq and by searched limits") {
  const Matrix<float> weights = testing::NormalMatrix(20, 80, 8);
  const Matrix<double> gram = testing::GramOf(testing::CorrelatedInputs(200, 80, 9));
  for (const WeightScheme& scheme : testing::FormatSchemes(32)) {
    INFO(SchemeName(scheme));
    const PackedMatrix nearest = RoundToNearest(weights.view(), scheme);
    const double rtn = testing::OutputError(weights.view(), nearest, gram);
    for (const double static_groups : {0.0, 1.0}) {
      for (const double mse_clip : {0.0, 1.0}) {
        CAPTURE(static_groups, mse_clip);
        const PackedMatrix packed =
            RoundBy("gptq", weights.view(), scheme, gram,
                    {{"static_groups", static_groups}, {"mse_clip", mse_clip}});
        CHECK(testing::OutputError(weights.view(), packed, gram) < rtn);
      }
    }
    if (scheme.granularity != Granularity::kRow && scheme.granularity != Granularity::kGroup)
      continue;
    const Matrix<float> limits = AwqLimits(weights.view(), scheme, gram.view(), {}, 2);
    const PackedMatrix cut = RoundToNearest(weights.view(), scheme, limits.view());
    CHECK(testing::OutputError(weights.view(), cut, gram) <= rtn * (1 + 1e-2));
  }
}

TEST_CASE("table format: gptq of uncorrelated inputs is rtn") {
  const Matrix<float> weights = testing::NormalMatrix(5, 32, 5);
  Matrix<double> identity(32, 32);
  for (size_t i = 0; i < 32; ++i) {
    for (size_t j = 0; j < 32; ++j) identity(i, j) = i == j ? 1 : 0;
  }
  for (const WeightScheme& scheme : testing::TableSchemes(16)) {
    CHECK(RoundBy("gptq", weights.view(), scheme, identity).Sha256() ==
          RoundToNearest(weights.view(), scheme).Sha256());
  }
}

TEST_CASE("table format: clipping limits do no worse than none") {
  const Matrix<float> weights = testing::NormalMatrix(8, 64, 6);
  const Matrix<double> gram = testing::GramOf(testing::CorrelatedInputs(96, 64, 7));
  for (const NumberFormat* format : {&kUneven, &kWide}) {
    WeightScheme scheme = SchemeOf(*format);
    scheme.granularity = Granularity::kRow;
    const Matrix<float> limits = AwqLimits(weights.view(), scheme, gram.view(), {}, 2);
    const auto error = [&](MatrixView<const float> at) {
      return testing::OutputError(weights.view(), RoundToNearest(weights.view(), scheme, at), gram);
    };
    CHECK(error(limits.view()) <= error({}) * (1 + 1e-4));
  }
}

TEST_CASE("table format: a whole model runs on decoded weights, which is told and counted") {
  const testing::TempDir dir;
  testing::WriteTinyModel(dir.path(), {});
  const ModelConfig config = ReadConfig(dir / "config.json");
  const ModelWeights weights =
      LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
  QuantizeSpec spec;
  spec.weights = SchemeOf(kWide);  // eight levels, which no kernel takes
  Method method;
  method.rounder = FindRounder("rtn");
  const QuantizedModel model = QuantizeModel(config, weights, PlanModel(spec, config), method,
                                             nullptr, {.products = Products::kKernel});
  CHECK(DecodedEachCall(model.weights).size() == 14);
  CHECK(MeasureBits(model.weights).blocks == 3 + 32 / 8.0);
  ModelWeights decoded = weights;
  for (size_t b = 0; b < 2; ++b) {
    for (size_t i = 0; i < kLinears; ++i) {
      const Linear& linear = model.weights.blocks[b].linears[i];
      CHECK(linear.weight.packed() != nullptr);
      decoded.blocks[b].linears[i].weight = Weight(linear.weight.Decode());
    }
  }
  std::vector<uint32_t> ids;  // more than the products take that read weights as they are stored
  for (uint32_t t = 0; t < 24; ++t) ids.push_back((7 * t + 3) % 64);
  Workspace work;
  const auto hidden = [&](const ModelWeights& of) {
    const Matrix<float> h = Transformer(config, of, ids.size()).Hidden(ids, work);
    return std::vector<float>(h.data(), h.data() + h.rows() * h.cols());
  };
  CHECK(hidden(model.weights) == hidden(decoded));
  for (const LayerReport& layer : model.layers) {
    CHECK(layer.clipped_share == 0);
    CHECK(layer.weight_mse > 0);
    CHECK(layer.scale_max >= layer.scale_min);
  }
}

}  // namespace
}  // namespace quantref
