#include "quantizers/gptq.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "harness/base/half.h"
#include "harness/kernels/dequantize.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"
#include "quantizers/gptq_solver.h"
#include "quantizers/gptq_solver_grid.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

namespace quantref {
namespace {

using testing::CorrelatedInputs;
using testing::GramOf;
using testing::NormalMatrix;
using testing::OutputError;

using Settings = std::initializer_list<std::pair<const char*, double>>;

Matrix<double> Square(size_t n, std::initializer_list<double> values) {
  Matrix<double> matrix(n, n);
  REQUIRE(values.size() == n * n);
  std::copy(values.begin(), values.end(), matrix.data());
  return matrix;
}

Rounded Round(MatrixView<const float> weights, const Matrix<double>& gram,
              const WeightScheme& scheme, Settings settings = {},
              MatrixView<const float> limits = {}, size_t threads = 1) {
  const Gptq gptq;
  Knobs knobs(gptq.knobs());
  for (const auto& [name, value] : settings) knobs.Set(name, value);
  InputStatistics inputs;
  inputs.gram = Matrix<double>(gram.rows(), gram.cols());
  std::copy_n(gram.data(), gram.rows() * gram.cols(), inputs.gram.data());
  return gptq.Round({.name = "layers.0.mlp.down_proj",
                     .weights = weights,
                     .scheme = scheme,
                     .inputs = &inputs,
                     .limits = limits,
                     .knobs = &knobs,
                     .threads = threads});
}

std::vector<int> CodesOf(const PackedMatrix& packed) {
  std::vector<int> all;
  std::vector<uint8_t> row(packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.GetCodes(r, row);
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

double ShareEqual(const PackedMatrix& a, const PackedMatrix& b) {
  const std::vector<int> codes_a = CodesOf(a), codes_b = CodesOf(b);
  size_t equal = 0;
  for (size_t i = 0; i < codes_a.size(); ++i) equal += codes_a[i] == codes_b[i];
  return static_cast<double>(equal) / static_cast<double>(codes_a.size());
}

// Every combination of the two flags that decide where codes and groups go.
std::vector<std::pair<double, double>> Orders() { return {{0, 0}, {0, 1}, {1, 0}, {1, 1}}; }

constexpr WeightScheme kThreeBits{3, Granularity::kTensor, 0, true};

// H = [4 2; 2 3]: an error d of the first weight is best made up for by -2/3 d of the second. In
// steps of 1: 1.4 becomes 1, and 0.3 becomes 0.3 + 2/3 * 0.4 = 0.567, rounded to 1. The first row
// fixes the scale.
TEST_CASE("gptq: two columns by hand", "[gptq]") {
  const float weights[] = {3.0f, -1.4f, 1.4f, 0.3f};
  const MatrixView<const float> view(weights, 2, 2);
  const Matrix<double> gram = Square(2, {4, 2, 2, 3});
  CHECK(CodesOf(RoundToNearest(view, kThreeBits)) == std::vector<int>{7, 3, 5, 4});
  CHECK(CodesOf(Round(view, gram, kThreeBits, {{"damp", 0}}).packed) ==
        std::vector<int>{7, 3, 5, 5});
  // With 1.0 on the diagonal, 2 / (3 + 3.5) * 0.4 = 0.123 is not enough.
  CHECK(CodesOf(Round(view, gram, kThreeBits, {{"damp", 1}}).packed) ==
        std::vector<int>{7, 3, 5, 4});
}

TEST_CASE("gptq: the larger diagonal goes first, codes stay at their columns", "[gptq]") {
  const float weights[] = {-1.4f, 3.0f, 0.3f, 1.4f};
  const MatrixView<const float> view(weights, 2, 2);
  const Matrix<double> gram = Square(2, {3, 2, 2, 4});
  CHECK(CodesOf(Round(view, gram, kThreeBits, {{"damp", 0}}).packed) ==
        std::vector<int>{3, 7, 5, 5});
  // By number: 0.3 becomes 0, and 1.4 + 2/4 * 0.3 = 1.55 becomes 2.
  CHECK(CodesOf(Round(view, gram, kThreeBits, {{"damp", 0}, {"act_order", 0}}).packed) ==
        std::vector<int>{3, 7, 4, 6});
}

TEST_CASE("gptq: the factor's ratios are those of the inverse's Cholesky factor", "[gptq]") {
  const Matrix<double> gram = Square(3, {5, 1, 2, 1, 9, 3, 2, 3, 9});
  const GptqFactor factor = Factorize(gram.view(), 0, true);
  CHECK(factor.order == std::vector<uint32_t>{1, 2, 0});  // ties by number
  // By order: [9 3 1; 3 9 2; 1 2 5]. An error of the last column but one is made up for by 2/5 of
  // it; one of the first by [3 1] [9 2; 2 5]^-1 = [13 3] / 41.
  CHECK(factor.ratios(1, 2) == Approx(-2.0 / 5));
  CHECK(factor.ratios(0, 1) == Approx(-13.0 / 41));
  CHECK(factor.ratios(0, 2) == Approx(-3.0 / 41));
  for (size_t j = 0; j < 3; ++j) {
    CHECK(factor.ratios(j, j) == 1);
    for (size_t k = 0; k < j; ++k) CHECK(factor.ratios(j, k) == 0);
  }
}

TEST_CASE("gptq: with H = c I and without inputs it rounds to nearest", "[gptq]") {
  const Matrix<float> weights = NormalMatrix(9, 48, 1);
  Matrix<double> gram(48, 48);
  for (size_t i = 0; i < 48; ++i) {
    for (size_t j = 0; j < 48; ++j) gram(i, j) = i == j ? 7e-5 : 0;
  }
  for (const Granularity granularity :
       {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
    for (const bool symmetric : {false, true}) {
      const WeightScheme scheme{4, granularity, 16, symmetric};
      INFO(SchemeName(scheme));
      const std::string expected = RoundToNearest(weights.view(), scheme).Sha256();
      for (const auto& [act_order, static_groups] : Orders()) {
        const Settings settings = {{"act_order", act_order}, {"static_groups", static_groups}};
        const PackedMatrix packed = Round(weights.view(), gram, scheme, settings).packed;
        CHECK(packed.Sha256() == expected);
        CHECK(CodesOf(packed) == CodesOf(RoundToNearest(weights.view(), scheme)));
      }
      const Rounded embedding = Gptq().Round({"embed_tokens", weights.view(), scheme});
      CHECK(embedding.packed.Sha256() == expected);
      CHECK(embedding.made_by == "rtn");
    }
  }
}

TEST_CASE("gptq: outputs change less than by rounding to nearest", "[gptq]") {
  const Matrix<float> weights = NormalMatrix(32, 64, 2);
  const Matrix<double> gram = GramOf(CorrelatedInputs(192, 64, 3));
  for (const Granularity granularity :
       {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const auto& [act_order, static_groups] : Orders()) {
        const WeightScheme scheme{bits, granularity, 16};
        INFO(SchemeName(scheme) << ", act_order " << act_order << ", static " << static_groups);
        const PackedMatrix packed =
            Round(weights.view(), gram, scheme,
                  {{"act_order", act_order}, {"static_groups", static_groups}})
                .packed;
        CHECK(OutputError(weights.view(), packed, gram) <
              0.6 * OutputError(weights.view(), RoundToNearest(weights.view(), scheme), gram));
      }
    }
  }
}

TEST_CASE("gptq: the block does not matter, but for rounding", "[gptq]") {
  const Matrix<float> weights = NormalMatrix(32, 96, 4);
  const Matrix<double> gram = GramOf(CorrelatedInputs(300, 96, 5));
  const WeightScheme scheme{.bits = 4, .group = 24};
  for (const auto& [act_order, static_groups] : Orders()) {
    const auto round = [&, act = act_order, fixed = static_groups](double block) {
      return Round(weights.view(), gram, scheme,
                   {{"block", block}, {"act_order", act}, {"static_groups", fixed}})
          .packed;
    };
    const PackedMatrix whole = round(96);
    for (const double block : {1, 5, 16, 24, 40, 65, 128, 65536}) {
      INFO("block " << block << ", act_order " << act_order << ", static " << static_groups);
      const PackedMatrix packed = round(block);
      CHECK(ShareEqual(packed, whole) >= 0.999);
      CHECK(OutputError(weights.view(), packed, gram) ==
            Approx(OutputError(weights.view(), whole, gram)).epsilon(1e-3));
    }
  }
}

TEST_CASE("gptq: the number of threads does not matter", "[gptq]") {
  const Matrix<float> weights = NormalMatrix(1000, 24, 6);  // 4 tiles, the last not full
  const Matrix<double> gram = GramOf(CorrelatedInputs(100, 24, 7));
  for (const auto& [act_order, static_groups] : Orders()) {
    const Settings settings = {
        {"act_order", act_order}, {"static_groups", static_groups}, {"mse_clip", 1}};
    const auto hash = [&](size_t threads) {
      return Round(weights.view(), gram, {.bits = 3, .group = 8}, settings, {}, threads)
          .packed.Sha256();
    };
    const std::string alone = hash(1);
    CHECK(hash(2) == alone);
    CHECK(hash(4) == alone);
  }
}

TEST_CASE("gptq: groups in processing order come with the order, and decode to their columns",
          "[gptq]") {
  const Matrix<float> weights = NormalMatrix(6, 32, 8);
  const Matrix<double> gram = GramOf(CorrelatedInputs(100, 32, 9));
  const WeightScheme scheme{.bits = 8, .group = 8};
  for (const auto& [act_order, static_groups] : Orders()) {
    const PackedMatrix packed = Round(weights.view(), gram, scheme,
                                      {{"act_order", act_order}, {"static_groups", static_groups}})
                                    .packed;
    CHECK(packed.order().empty() == !(act_order == 1 && static_groups == 0));
    for (size_t p = 1; p < packed.order().size(); ++p) {
      const uint32_t before = packed.order()[p - 1], after = packed.order()[p];
      CHECK(gram(before, before) >= gram(after, after));
    }
    Matrix<float> decoded(6, 32);
    DecodeRows(packed, 0, decoded.view());
    for (size_t i = 0; i < 6 * 32; ++i) {
      CHECK(std::fabs(decoded.data()[i] - weights.data()[i]) < 0.5f);  // not of another column
    }
  }
}

TEST_CASE("gptq: the damping is raised where H is not positive definite", "[gptq]") {
  const Matrix<float> weights = NormalMatrix(4, 2, 10);
  const WeightScheme scheme{4, Granularity::kRow};
  CHECK(Round(weights.view(), Square(2, {1, 0.5, 0.5, 1}), scheme).note.empty());
  CHECK(Round(weights.view(), Square(2, {1, 1, 1, 1}), scheme, {{"damp", 0}}).note ==
        "damp raised to 0.01");
  // 1.015 off the diagonal takes more than 0.015 on it.
  CHECK(Round(weights.view(), Square(2, {1, 1.015, 1.015, 1}), scheme).note ==
        "damp raised to 0.02");
  CHECK_ERROR(Round(weights.view(), Square(2, {1, 1e6, 1e6, 1}), scheme), "not positive definite");
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  CHECK_ERROR(Round(weights.view(), Square(2, {1, 0, 0, kNan}), scheme), "channel 1", "nan");
}

TEST_CASE("gptq: a column whose input is always 0 becomes 0 and no error", "[gptq]") {
  const Matrix<float> weights = NormalMatrix(4, 16, 11);
  Matrix<float> inputs = CorrelatedInputs(64, 16, 12);
  for (size_t t = 0; t < 64; ++t) inputs(t, 5) = 0;
  for (const auto& [act_order, static_groups] : Orders()) {
    const PackedMatrix packed = Round(weights.view(), GramOf(inputs), {.bits = 4, .group = 4},
                                      {{"act_order", act_order}, {"static_groups", static_groups}})
                                    .packed;
    std::vector<float> values(16);
    for (size_t r = 0; r < 4; ++r) {
      packed.DecodeRow(r, values);
      CHECK(values[5] == 0);
    }
  }
}

// The first group in processing order has the original weights.
TEST_CASE("gptq: in processing order each weight keeps the limit of its natural group", "[gptq]") {
  const Matrix<float> weights = NormalMatrix(8, 32, 18);
  const Matrix<double> gram = GramOf(CorrelatedInputs(100, 32, 19));
  const WeightScheme scheme{.bits = 4, .group = 8};
  Matrix<float> limits(8, 4);
  for (size_t i = 0; i < 8 * 4; ++i) limits.data()[i] = 0.2f + 0.3f * static_cast<float>(i % 4);
  const PackedMatrix packed =
      Round(weights.view(), gram, scheme, {{"static_groups", 0}}, limits.view()).packed;
  for (size_t r = 0; r < 8; ++r) {
    ValueRange range;
    for (size_t p = 0; p < 8; ++p) {
      const uint32_t column = packed.order()[p];
      const float limit = limits(r, column / 8);
      const float cut = std::clamp(weights(r, column), -limit, limit);
      range = {std::min(range.lo, cut), std::max(range.hi, cut)};
    }
    CHECK(packed.affine(r, 0).scale == ChooseAffine(range, scheme).scale);
    CHECK(packed.affine(r, 0).zero == ChooseAffine(range, scheme).zero);
  }
}

TEST_CASE("gptq: limits cut grids, and what they cut off is made up for", "[gptq]") {
  const Matrix<float> weights = NormalMatrix(8, 32, 13);
  const Matrix<double> gram = GramOf(CorrelatedInputs(100, 32, 14));
  const WeightScheme scheme{.bits = 4, .group = 8, .symmetric = true};
  Matrix<float> limits(8, 4);
  for (size_t i = 0; i < 8 * 4; ++i) limits.data()[i] = 0.7f + 0.01f * static_cast<float>(i);
  const PackedMatrix nearest = RoundToNearest(weights.view(), scheme, limits.view());
  for (const auto& [act_order, static_groups] : Orders()) {
    const PackedMatrix packed =
        Round(weights.view(), gram, scheme,
              {{"act_order", act_order}, {"static_groups", static_groups}}, limits.view())
            .packed;
    for (size_t r = 0; r < 8; ++r) {
      for (size_t s = 0; s < 4; ++s) {
        const float largest = packed.affine(r, s).scale * 7;
        if (static_groups == 1) CHECK(packed.affine(r, s).scale == nearest.affine(r, s).scale);
        if (act_order == 0) CHECK(largest <= limits(r, s) * 1.001f);
        CHECK(largest <= limits(r, 3) * 1.001f);  // the widest of the row
      }
    }
    CHECK(OutputError(weights.view(), packed, gram) <
          0.9 * OutputError(weights.view(), nearest, gram));
  }
}

double Distance(std::span<const float> weights, const Affine& affine, const WeightScheme& scheme) {
  double sum = 0;
  for (const float w : weights) {
    const float error = w - Decode(Encode(w, affine, Codes(scheme)), affine);
    sum += std::pow(std::fabs(static_cast<double>(error)), 2.4);
  }
  return sum;
}

TEST_CASE("gptq: mse_clip takes the narrower grid where it costs less", "[gptq]") {
  const WeightScheme scheme{3, Granularity::kRow, 0, true};
  // Exact on the grid that spans them: nothing is better.
  const std::vector<float> exact = {-3, 1, 2, 3};
  CHECK(SearchGrid(exact, {-3, 3}, scheme).scale() == 1);
  const Matrix<float> normal = NormalMatrix(1, 256, 15);
  const std::span<const float> row = normal.view().row_span(0);
  const auto [lo, hi] = std::minmax_element(row.begin(), row.end());
  const Affine spanning = ChooseAffine({*lo, *hi}, scheme);
  const Affine found = SearchGrid(row, {*lo, *hi}, scheme).affine();
  CHECK(found.scale < spanning.scale);
  CHECK(Distance(row, found, scheme) < 0.9 * Distance(row, spanning, scheme));
  for (int i = 0; i < 80; ++i) {
    const float shrink = 1 - 0.01f * static_cast<float>(i);
    const Affine tried = ChooseAffine({shrink * *lo, shrink * *hi}, scheme);
    CHECK(Distance(row, found, scheme) <= Distance(row, tried, scheme) * (1 + 1e-5));
  }
  // A matrix: every scale on its own, and limits bound what is tried.
  const Matrix<float> weights = NormalMatrix(4, 64, 16);
  PackedMatrix packed(4, 64, {.bits = 3, .group = 32});
  SearchGrids(weights.view(), {}, 2, packed);
  const std::span<const float> group = weights.view().row_span(2).subspan(32);
  const auto [least, most] = std::minmax_element(group.begin(), group.end());
  const Affine alone = SearchGrid(group, {*least, *most}, packed.scheme()).affine();
  CHECK(packed.affine(2, 1).scale == alone.scale);
  CHECK(packed.affine(2, 1).zero == alone.zero);
  Matrix<float> limits(4, 2);
  std::fill_n(limits.data(), 8, 0.25f);
  SearchGrids(weights.view(), limits.view(), 2, packed);
  CHECK(packed.affine(3, 0).scale == RoundToHalf(0.5f / 7));
}

// In steps of 65504 at most, errors of up to half of one add up to weights that need wider ones.
TEST_CASE("gptq: updated weights beyond FP16's scales are cut, original ones are refused",
          "[gptq]") {
  Matrix<float> weights = NormalMatrix(16, 32, 17);
  for (size_t i = 0; i < 16 * 32; ++i) {
    weights.data()[i] = std::clamp(weights.data()[i] * 60000, -65000.0f, 65000.0f);
  }
  Matrix<double> gram(32, 32);
  for (size_t i = 0; i < 32; ++i) {
    for (size_t j = 0; j < 32; ++j) gram(i, j) = i == j ? 1.0 : 0.97;
  }
  const WeightScheme scheme{.bits = 2, .group = 4, .symmetric = true};
  const PackedMatrix packed =
      Round(weights.view(), gram, scheme, {{"static_groups", 0}, {"damp", 0}}).packed;
  float widest = 0;
  for (size_t i = 0; i < 16 * 8; ++i) widest = std::max(widest, packed.affine(i / 8, i % 8).scale);
  CHECK(widest == kMaxHalf);
  weights(15, 31) = 1e5f;
  CHECK_ERROR(Round(weights.view(), gram, scheme, {{"static_groups", 0}}), "does not fit FP16");
}

TEST_CASE("gptq: diverging weights are an error", "[gptq]") {
  const Matrix<float> weights = NormalMatrix(2, 3, 20);
  GptqFactor factor;
  factor.order = {0, 1, 2};
  factor.ratios = Matrix<float>(3, 3);
  std::fill_n(factor.ratios.data(), 9, 1e30f);
  PackedMatrix packed(2, 3, {.granularity = Granularity::kRow});
  ChooseGrids(weights.view(), {}, packed);
  CHECK_ERROR(GptqSolve(weights.view(), {}, factor, {}, packed), "diverge", "damp");
}

TEST_CASE("gptq: needs the gram matrix, and passes true_sequential on", "[gptq]") {
  const Gptq gptq;
  Knobs knobs(gptq.knobs());
  CHECK(gptq.needs(knobs).gram);
  CHECK(gptq.needs(knobs).kept == 0);
  CHECK_FALSE(gptq.needs(knobs).true_sequential);
  knobs.Set("true_sequential", 1);
  CHECK(gptq.needs(knobs).true_sequential);
  CHECK(dynamic_cast<const Gptq*>(FindRounder("gptq")) != nullptr);
}

}  // namespace
}  // namespace quantref
