#include "harness/kernels/outlier_product.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <vector>

#include "harness/base/half.h"
#include "harness/kernels/qgemm_testing.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::All;
using testing::NormalMatrix;
using testing::SameBits;
using Channels = std::vector<uint32_t>;

constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

TEST_CASE("outliers: the channels in which some token reaches the threshold") {
  Rng rng(1);
  for (const size_t cols : testing::NastySizes()) {
    for (const size_t tokens : {1, 2, 7}) {
      CAPTURE(cols, tokens);
      const Matrix<float> x = NormalMatrix(tokens, cols, rng);
      Channels expected;
      for (size_t c = 0; c < cols; ++c) {
        bool loud = false;
        for (size_t t = 0; t < tokens; ++t) loud = loud || std::fabs(x(t, c)) >= 1.5f;
        if (loud) expected.push_back(static_cast<uint32_t>(c));
      }
      OutlierFinder finder;
      const auto found = finder.Find(x.view(), 1.5);
      REQUIRE(Channels(found.begin(), found.end()) == expected);
      REQUIRE(finder.Find(x.view(), 1e6).empty());
    }
  }
  const std::vector<float> row = {6, -6, 5.999f, kNotANumber, HUGE_VALF, -HUGE_VALF, 0};
  OutlierFinder finder;
  const auto found = finder.Find({row.data(), 1, row.size()}, 6);
  CHECK(Channels(found.begin(), found.end()) == Channels{0, 1, 4, 5});
}

TEST_CASE("outliers: what is left of a token, and what its scale spans") {
  const std::vector<float> row = {1, -7, 5, 2, -3};
  const Channels channels = {1, 2};  // 2 is one for another token
  std::vector<float> rest(row.size());
  const std::vector<float> expected = {1, 0, 0, 2, -3};
  CHECK(LeaveOut({6, OutlierRule::Weights::kFp16}, channels, row, rest) == 3);
  CHECK(rest == expected);
  CHECK(LeaveOut({6, OutlierRule::Weights::kInt8}, channels, row, rest) == 5);
  CHECK(rest == expected);
}

// The weights of every input channel, (in, out).
Matrix<float> ByChannel(const TiledMatrix& w) {
  Matrix<float> rows(w.rows(), w.cols());
  w.DecodeRows(0, rows.view());
  return testing::Transposed(rows.view());
}

// FP16 numbers that are kept, (in, out), and what they are.
struct Kept {
  Matrix<uint16_t> halves;
  Matrix<float> values;
};
Kept RandomHalves(size_t rows, size_t cols, Rng& rng) {
  Kept kept{Matrix<uint16_t>(rows, cols), Matrix<float>(rows, cols)};
  for (size_t i = 0; i < rows * cols; ++i) {
    const uint16_t half = FloatToHalf(static_cast<float>(rng.Normal()));
    kept.halves.data()[i] = half;
    kept.values.data()[i] = HalfToFloat(half);
  }
  return kept;
}

Channels EveryNth(size_t cols, size_t n) {
  Channels channels;
  for (size_t c = 0; c < cols; c += n) channels.push_back(static_cast<uint32_t>(c));
  return channels;
}

// In two tiles, on every instruction set; y holds something before. by_channel: the weights of
// outliers, which are `kept` or w's own.
void CheckAdds(const TiledMatrix& w, const Matrix<float>& by_channel, const Kept* kept,
               MatrixView<const float> x, const Channels& channels) {
  Rng rng(5);
  const Matrix<float> before = NormalMatrix(x.rows(), w.rows(), rng);
  std::optional<DenseRows> dense;
  if (kept != nullptr) dense = {kept->halves.data(), DenseRows::Type::kFp16, w.cols(), w.rows()};
  Matrix<float> expected(x.rows(), w.rows());
  for (size_t t = 0; t < x.rows(); ++t) {
    for (size_t o = 0; o < w.rows(); ++o) {
      expected(t, o) = testing::WithOutliers(before(t, o), x.row_span(t), by_channel, channels, o);
    }
  }
  for (const Isa isa : testing::AvailableIsas()) {
    CAPTURE(IsaName(isa), w.rows(), w.cols(), x.rows(), channels.size(), kept != nullptr);
    Matrix<float> y(x.rows(), w.rows()), scratch;
    std::copy_n(before.data(), x.rows() * w.rows(), y.data());
    OutlierProduct product;
    product.Pack(x, w, channels, isa);
    const size_t half = w.rows() / 2 / kQgemmTile * kQgemmTile;
    product.Add(w, dense, 0, half, y.view(), scratch, isa);
    product.Add(w, dense, half, w.rows() - half, y.view(), scratch, isa);
    REQUIRE(SameBits(All(y), All(expected)));
  }
}

TEST_CASE("outliers: their products are the definition on every instruction set", "[any_isa]") {
  Rng rng(2);
  for (const int bits : {2, 3, 4, 8}) {
    for (const size_t rows : {1, 15, 16, 17, 33, 300}) {
      const size_t cols = 192;
      const WeightScheme row_scheme{.bits = bits, .granularity = Granularity::kRow};
      const WeightScheme group_scheme{.bits = bits, .group = 32}, ragged{.bits = bits, .group = 50};
      const Kept kept = RandomHalves(cols, rows, rng);
      for (const WeightScheme& scheme : {row_scheme, group_scheme, ragged}) {
        const TiledMatrix w = TiledMatrix::Random(rows, cols, scheme, rng);
        const Matrix<float> own = ByChannel(w);
        for (const size_t tokens : {1, 5, 13, 50}) {
          if (rows * tokens > 1000) continue;
          const Matrix<float> x = NormalMatrix(tokens, cols, rng);
          for (const size_t n : {1, 3, 64, 1000}) {
            CheckAdds(w, own, nullptr, x.view(), EveryNth(cols, n));
            CheckAdds(w, kept.values, &kept, x.view(), EveryNth(cols, n));
          }
        }
      }
    }
  }
}

TEST_CASE("outliers: columns in another order are found where they stand") {
  Rng rng(3);
  const WeightScheme scheme{.bits = 4, .group = 32};
  PackedMatrix packed = TiledMatrix::Random(40, 160, scheme, rng).Unpack();
  std::vector<uint32_t> order(160);
  std::iota(order.rbegin(), order.rend(), 0u);
  packed.set_order(std::move(order));
  packed.set_exponent(-3);
  const TiledMatrix w(packed);
  const Matrix<float> x = NormalMatrix(7, 160, rng);
  const Kept kept = RandomHalves(160, 40, rng);
  CheckAdds(w, ByChannel(w), nullptr, x.view(), {0, 2, 31, 32, 100, 159});
  CheckAdds(w, kept.values, &kept, x.view(), {0, 2, 31, 32, 100, 159});
}

TEST_CASE("outliers: codes and scales are those of the channels that are left") {
  Rng rng(4);
  const WeightScheme scheme{.bits = 8, .granularity = Granularity::kRow, .symmetric = true};
  const TiledMatrix w = TiledMatrix::Random(20, 100, scheme, rng);
  Matrix<float> x = NormalMatrix(5, 100, rng);
  const Channels channels = {0, 17, 99};
  for (const uint32_t c : channels) x(c % 5, c) = 50;  // in one token each, small in others
  const ActivationFormat plain{};
  ActivationFormat format{.outliers = OutlierRule{6, OutlierRule::Weights::kFp16}};
  Matrix<float> zeroed(5, 100), y(5, 20);
  std::copy_n(x.data(), 500, zeroed.data());
  for (size_t t = 0; t < 5; ++t) {
    for (const uint32_t c : channels) zeroed(t, c) = 0;
  }
  for (const Isa isa : testing::AvailableIsas()) {
    QuantizedInputs inputs;
    Matrix<uint8_t> scratch;
    inputs.Pack(x.view(), format, w, isa, nullptr, channels);
    MultiplyQuantized(inputs, w, 0, 20, y.view(), scratch, isa);
    CHECK(SameBits(All(y), All(testing::Product(w, zeroed.view(), plain, isa))));
  }
  // bitsandbytes: the scale also spans what is below the threshold where others are outliers.
  format.outliers->weights = OutlierRule::Weights::kInt8;
  for (size_t t = 0; t < 5; ++t) {
    float absmax = 0;
    for (const float value : x.view().row_span(t))
      absmax = std::max(absmax, std::fabs(value) < 6 ? std::fabs(value) : 0);
    QuantizedInputs inputs;
    Matrix<uint8_t> scratch;
    inputs.Pack(x.view(), format, w, ActiveIsa(), nullptr, channels);
    MultiplyQuantized(inputs, w, 0, 20, y.view(), scratch);
    const ActivationFormat given{8, false, absmax / 127};
    const Matrix<float> expected =
        testing::Product(w, zeroed.view().Rows(t, 1), given, ActiveIsa());
    CHECK(SameBits(y.view().row_span(t), All(expected)));
  }
}

// bitsandbytes itself and the paper's equation in float64: testdata/llm_int8.json, from
// scripts/goldens/llm_int8.py.
struct GoldenCase {
  Matrix<float> x;
  std::vector<float> scales;  // of the weights' rows
  std::vector<std::vector<int>> weights;
  Matrix<uint16_t> originals;  // (in, out)
  nlohmann::json expected;
};

template <typename T>
Matrix<T> MatrixFrom(const nlohmann::json& rows) {
  Matrix<T> matrix(rows.size(), rows.at(0).size());
  for (size_t r = 0; r < matrix.rows(); ++r) {
    for (size_t c = 0; c < matrix.cols(); ++c) matrix(r, c) = rows[r][c].get<T>();
  }
  return matrix;
}

std::vector<GoldenCase> GoldenCases() {
  std::ifstream file(testing::SourceDir() / "harness/kernels/testdata/llm_int8.json");
  REQUIRE(file.good());
  std::vector<GoldenCase> cases;
  for (const auto& entry : nlohmann::json::parse(file)) {
    GoldenCase one;
    const Matrix<uint16_t> halves = MatrixFrom<uint16_t>(entry.at("x"));
    one.x = Matrix<float>(halves.rows(), halves.cols());
    for (size_t i = 0; i < halves.rows() * halves.cols(); ++i)
      one.x.data()[i] = HalfToFloat(halves.data()[i]);
    for (const uint16_t half : entry.at("weight_scales")) one.scales.push_back(HalfToFloat(half));
    one.weights = entry.at("weights").get<std::vector<std::vector<int>>>();
    one.originals = MatrixFrom<uint16_t>(entry.at("originals_by_channel"));
    one.expected = entry;
    cases.push_back(std::move(one));
  }
  return cases;
}

TiledMatrix WeightsOf(const GoldenCase& one) {
  const WeightScheme scheme{.bits = 8, .granularity = Granularity::kRow, .symmetric = true};
  PackedMatrix packed(one.weights.size(), one.x.cols(), scheme);
  for (size_t r = 0; r < packed.rows(); ++r) {
    std::vector<uint8_t> codes;
    for (const int code : one.weights[r]) codes.push_back(static_cast<uint8_t>(code + 128));
    packed.SetCodes(r, codes);
    packed.set_affine(r, 0, {one.scales[r], 128});
  }
  return TiledMatrix(packed);
}

// Both products as the model runs them.
Matrix<float> MixedProduct(const GoldenCase& one, const TiledMatrix& w, const OutlierRule& rule,
                           std::span<const uint32_t> channels, QuantizedInputs& inputs) {
  const ActivationFormat format{.outliers = rule};
  inputs.Pack(one.x.view(), format, w, ActiveIsa(), nullptr, channels);
  Matrix<float> y(one.x.rows(), w.rows()), outliers;
  Matrix<uint8_t> scratch;
  MultiplyQuantized(inputs, w, 0, w.rows(), y.view(), scratch);
  OutlierProduct product;
  product.Pack(one.x.view(), w, channels);
  std::optional<DenseRows> kept;
  if (rule.weights == OutlierRule::Weights::kFp16)
    kept = {one.originals.data(), DenseRows::Type::kFp16, w.cols(), w.rows()};
  product.Add(w, kept, 0, w.rows(), y.view(), outliers);
  return y;
}

// The largest difference beside the largest magnitude.
double WorstOf(const Matrix<float>& y, const nlohmann::json& expected) {
  double worst = 0, largest = 0;
  for (size_t t = 0; t < y.rows(); ++t) {
    for (size_t o = 0; o < y.cols(); ++o) {
      const double value = expected[t][o];
      worst = std::max(worst, std::fabs(static_cast<double>(y(t, o)) - value));
      largest = std::max(largest, std::fabs(value));
    }
  }
  return worst / largest;
}

TEST_CASE("outliers: LLM.int8() against bitsandbytes and the paper's equation") {
  const std::vector<GoldenCase> cases = GoldenCases();
  REQUIRE(cases.size() >= 4);
  for (const GoldenCase& one : cases) {
    INFO(one.expected.at("name"));
    OutlierFinder finder;
    const auto channels = finder.Find(one.x.view(), one.expected.at("threshold"));
    CHECK(Channels(channels.begin(), channels.end()) ==
          one.expected.at("outlier_channels").get<Channels>());
    const TiledMatrix w = WeightsOf(one);
    QuantizedInputs inputs;
    const double threshold = one.expected.at("threshold");
    const Matrix<float> bnb =
        MixedProduct(one, w, {threshold, OutlierRule::Weights::kInt8}, channels, inputs);
    for (size_t t = 0; t < one.x.rows(); ++t) {  // row statistics and codes, bit for bit
      const float stat = one.expected.at("row_stats")[t];
      CHECK(inputs.plain().scales[t] == stat / 127);
      const std::vector<int> codes = one.expected.at("codes")[t];
      const size_t step = w.plain().step, height = one.x.rows();  // one block of rows
      for (size_t c = 0; c < codes.size(); ++c)
        CHECK(inputs.plain().values[(c / step * height + t) * step + c % step] == codes[c]);
    }
    // The library multiplies by 6.200124e-05 for 1 / 127^2, which is 1.8e-5 too much.
    CHECK(WorstOf(bnb, one.expected.at("bitsandbytes")) < 4e-5);
    CHECK(WorstOf(bnb, one.expected.at("int8_float64")) < 1e-6);
    const Matrix<float> paper =
        MixedProduct(one, w, {threshold, OutlierRule::Weights::kFp16}, channels, inputs);
    CHECK(WorstOf(paper, one.expected.at("paper_float64")) < 1e-6);
  }
}

}  // namespace
}  // namespace quantref
