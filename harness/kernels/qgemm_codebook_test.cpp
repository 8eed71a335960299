#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "harness/kernels/check_products.h"
#include "harness/kernels/qgemm_testing.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::All;
using testing::CheckAllIsas;
using testing::kBytes;
using testing::kFloats;
using testing::NormalMatrix;
using testing::Product;

// Of every sixteen levels that products look up, nf4's scales quantized or not.
std::vector<WeightScheme> Codebooks(Granularity granularity, size_t group) {
  std::vector<WeightScheme> schemes;
  for (const NumberFormat* format : {FindFormat("nf4"), FindFormat("fp4"), &testing::kUneven}) {
    WeightScheme scheme = SchemeOf(*format);
    scheme.granularity = granularity;
    scheme.group = group;
    schemes.push_back(scheme);
  }
  schemes.push_back(schemes.front());
  schemes.back().double_quant = true;
  return schemes;
}

// What codebook_kernels.h promises, from the packed matrix itself. Groups are stored filled up to
// sixteen inputs, which moves no part.
float CodebookDefinition(const PackedMatrix& w, std::span<const float> x, size_t row) {
  std::vector<uint8_t> codes(w.cols());
  w.GetCodes(row, codes);
  const LevelTable& levels = w.scheme().format->levels;
  const ScaleShape& shape = w.scales();
  const auto at = [&](size_t k) { return x[w.order().empty() ? k : w.order()[k]]; };
  float c = 0;
  for (size_t g = 0; g < shape.cols; ++g) {
    const float scale = w.grid(shape.RowOf(row), g).scale();
    for (size_t begin = shape.Begin(g); begin < shape.End(g); begin += kPartTerms) {
      const size_t end = std::min(begin + kPartTerms, shape.End(g));
      float absmax = 0;
      for (size_t k = begin; k < end; ++k) absmax = std::max(absmax, std::fabs(at(k)));
      const float unit = absmax * (levels.Largest() / kMostProduct);
      if (unit < std::numeric_limits<float>::min()) continue;
      int64_t sum = 0;
      for (size_t k = begin; k < end; ++k) {
        const float q = at(k) * (1 / unit);
        sum += std::llrint(static_cast<double>(q) * static_cast<double>(levels[codes[k]]));
      }
      c = std::fma(scale * unit, static_cast<float>(sum), c);
    }
  }
  return c;
}

void CheckCodebook(const WeightScheme& scheme, size_t cols, Rng& rng) {
  CAPTURE(SchemeName(scheme), cols);
  const TiledMatrix w = TiledMatrix::Random(17, cols, scheme, rng);
  REQUIRE(w.plain().form == CodeForm::kCodebook);
  const PackedMatrix packed = w.Unpack();
  const Matrix<float> x = NormalMatrix(3, cols, rng);
  const Matrix<float> y = Product(w, x.view(), kFloats, Isa::kScalar);
  for (size_t t = 0; t < 3; ++t) {
    for (size_t o = 0; o < 17; ++o)
      REQUIRE(y(t, o) == CodebookDefinition(packed, x.view().row_span(t), o));
  }
}

TEST_CASE("codebook: the scalar kernel is the definition", "[codebook][any_isa]") {
  Rng rng(1);
  for (const size_t group : {8, 16, 32, 64, 100, 256, 300, 600}) {
    for (const WeightScheme& scheme : Codebooks(Granularity::kGroup, group))
      CheckCodebook(scheme, 2 * group, rng);
  }
  for (const auto& [cols, group] : testing::kRaggedSizes) {
    for (const WeightScheme& scheme : Codebooks(Granularity::kGroup, group))
      CheckCodebook(scheme, cols, rng);
  }
  for (const Granularity granularity : {Granularity::kRow, Granularity::kTensor}) {
    for (const WeightScheme& scheme : Codebooks(granularity, 0)) CheckCodebook(scheme, 530, rng);
  }
  CheckCodebook(SchemeOf(*FindFormat("nvfp4")), 96, rng);
}

TEST_CASE("codebook: every instruction set gives the scalar kernel's bits: sizes",
          "[codebook][any_isa]") {
  Rng rng(2);
  const WeightScheme by_row = Codebooks(Granularity::kRow, 0).front();
  for (const size_t cols : testing::NastySizes())
    CheckAllIsas(TiledMatrix::Random(17, cols, by_row, rng), NormalMatrix(9, cols, rng).view(),
                 kFloats);
  const WeightScheme grouped = Codebooks(Granularity::kGroup, 64).front();
  for (size_t rows = 1; rows <= 67; ++rows)
    CheckAllIsas(TiledMatrix::Random(rows, 192, grouped, rng), NormalMatrix(3, 192, rng).view(),
                 kFloats);
}

TEST_CASE("codebook: every instruction set gives the scalar kernel's bits: groups and tokens",
          "[codebook][any_isa]") {
  Rng rng(3);
  for (const size_t group : {16, 32, 64, 96, 128}) {
    for (const WeightScheme& scheme : Codebooks(Granularity::kGroup, group)) {
      const size_t cols = 3 * group + 5;
      const TiledMatrix w = TiledMatrix::Random(40, cols, scheme, rng);
      for (const size_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 33})
        CheckAllIsas(w, NormalMatrix(tokens, cols, rng).view(), kFloats);
      CheckAllIsas(w, NormalMatrix(3, cols, rng).view(), kBytes);
    }
  }
  for (const auto& [cols, group] : testing::kRaggedSizes) {
    const WeightScheme scheme = Codebooks(Granularity::kGroup, group).front();
    CheckAllIsas(TiledMatrix::Random(33, cols, scheme, rng), NormalMatrix(2, cols, rng).view(),
                 kFloats);
  }
  // More panels than a stretch keeps near, and several stretches.
  const TiledMatrix w = TiledMatrix::Random(1100, 640, Codebooks(Granularity::kGroup, 64)[0], rng);
  CheckAllIsas(w, NormalMatrix(10, 640, rng).view(), kFloats);
}

// Where a CPU has VBMI nobody else meets the kernel that does without.
TEST_CASE("codebook: the kernels for AVX-512 give the scalar kernel's bits with and without VBMI",
          "[codebook]") {
  if (!CpuHas(Isa::kAvx512)) return;
  std::vector<const CodebookKernels*> kernels = {&kAvx512Codebook};
  if (__builtin_cpu_supports("avx512vbmi")) kernels.push_back(&kAvx512VbmiCodebook);
  Rng rng(4);
  for (const auto& [cols, group] : testing::kRaggedSizes) {
    const TiledMatrix w =
        TiledMatrix::Random(33, cols, Codebooks(Granularity::kGroup, group).front(), rng);
    const Matrix<float> x = NormalMatrix(9, cols, rng);
    const Matrix<float> expected = Product(w, x.view(), kFloats, Isa::kScalar);
    for (const CodebookKernels* kernel : kernels) {
      CAPTURE(kernel->name, cols, group);
      Matrix<float> y(9, 33);
      Matrix<uint8_t> scratch(1, kernel->scratch_bytes);
      kernel->multiply({w.plain(), w.levels(), x.data(), cols, 9, y.data(), 33}, 0,
                       (33 + kPanelRows - 1) / kPanelRows, scratch.data());
      REQUIRE(SameBits(All(y), All(expected)));
    }
  }
}

TEST_CASE("codebook: sums of the largest products are exact", "[codebook]") {
  const WeightScheme scheme = Codebooks(Granularity::kRow, 0).front();
  for (const uint8_t code : {uint8_t{0}, uint8_t{15}}) {
    PackedMatrix packed(16, 1000, scheme);
    const std::vector<uint8_t> codes(1000, code);
    for (size_t row = 0; row < 16; ++row) {
      packed.SetCodes(row, codes);
      packed.set_grid(row, 0, {1.0f, scheme});
    }
    Matrix<float> x(2, 1000);
    std::fill_n(x.row(0), 1000, 3.0f);
    std::fill_n(x.row(1), 1000, -3.0f);
    const TiledMatrix w(packed);
    CheckAllIsas(w, x.view(), kFloats);
    const Matrix<float> y = Product(w, x.view(), kFloats, ActiveIsa());
    CHECK(y(0, 7) == Approx(code == 0 ? -3000.0 : 3000.0).epsilon(1e-6));
    CHECK(y(1, 7) == -y(0, 7));
  }
}

// By parts: what an outlier costs is lost in its own part alone.
TEST_CASE("codebook: products are as exact as their part allows, beside an outlier too",
          "[codebook]") {
  Rng rng(6);
  for (const WeightScheme& scheme : Codebooks(Granularity::kGroup, 64)) {
    const TiledMatrix w = TiledMatrix::Random(32, 1024, scheme, rng);
    const PackedMatrix packed = w.Unpack();
    Matrix<float> values(32, 1024), x = NormalMatrix(8, 1024, rng);
    w.DecodeRows(0, values.view());
    x(3, 100) = 400;
    const Matrix<float> y = Product(w, x.view(), kFloats, ActiveIsa());
    for (size_t t = 0; t < 8; ++t) {
      for (size_t o = 0; o < 32; ++o) {
        const std::span<const float> token = x.view().row_span(t);
        const auto [exact, magnitude] = testing::Exact(token, values.view().row_span(o));
        double rounding = 0;
        for (size_t g = 0; g < 1024 / 64; ++g) {
          const double largest = std::fabs(static_cast<double>(packed.grid(o, g).scale())) *
                                 static_cast<double>(scheme.format->levels.Largest());
          const float absmax = testing::LargestOf(token.subspan(64 * g, 64));
          rounding += 64 * 0x1p-22 * static_cast<double>(absmax) * largest;
        }
        REQUIRE(std::fabs(y(t, o) - exact) <= rounding + 128 * 0x1p-24 * magnitude);
      }
    }
  }
}

TEST_CASE("codebook: activations that are not finite, zeros and the smallest", "[codebook]") {
  Rng rng(8);
  const WeightScheme scheme = Codebooks(Granularity::kGroup, 32).front();
  const TiledMatrix w = TiledMatrix::Random(20, 64, scheme, rng);
  const Matrix<float> clean = NormalMatrix(5, 64, rng);
  for (const float bad : {testing::kInfinity, -testing::kInfinity, testing::kNan}) {
    Matrix<float> x(5, 64);
    std::copy_n(clean.data(), 5 * 64, x.data());
    x(2, 63) = bad;
    for (const Isa isa : testing::AvailableIsas()) {
      const Matrix<float> y = Product(w, x.view(), kFloats, isa);
      const Matrix<float> expected = Product(w, clean.view(), kFloats, isa);
      for (size_t t = 0; t < 5; ++t) {
        if (t != 2) REQUIRE(testing::SameBits(y.view().row_span(t), expected.view().row_span(t)));
      }
      for (size_t o = 0; o < 20; ++o) REQUIRE(std::isnan(y(2, o)));
    }
  }
  for (const float value : {0.0f, -0.0f, std::numeric_limits<float>::denorm_min(), 1e-38f, 1e-30f,
                            std::numeric_limits<float>::max()}) {
    Matrix<float> x(1, 64);
    std::fill_n(x.data(), 64, value);
    CheckAllIsas(w, x.view(), kFloats);
    const Matrix<float> y = Product(w, x.view(), kFloats, ActiveIsa());
    for (const float one : All(y)) CHECK(std::isfinite(one));
  }
}

TEST_CASE("codebook: tokens, the split of outputs and threads leave bits alone", "[codebook]") {
  Rng rng(7);
  const WeightScheme scheme = Codebooks(Granularity::kGroup, 64).front();
  const TiledMatrix w = TiledMatrix::Random(100, 256, scheme, rng);
  const Matrix<float> x = NormalMatrix(19, 256, rng);
  const Matrix<float> whole = Product(w, x.view(), kFloats, ActiveIsa());
  for (size_t t = 0; t < 19; ++t) {
    const Matrix<float> alone = Product(w, x.view().Rows(t, 1), kFloats, ActiveIsa());
    REQUIRE(testing::SameBits(All(alone), whole.view().row_span(t)));
  }
  Team team(3);
  QuantizedInputs inputs;
  inputs.Pack(x.view(), kFloats, w, ActiveIsa(), &team);
  Matrix<float> parts(19, 100);
  Matrix<uint8_t> scratch;
  for (size_t first = 0; first < 100; first += 2 * kQgemmTile)
    MultiplyQuantized(inputs, w, first, std::min(2 * kQgemmTile, 100 - first), parts.view(),
                      scratch);
  CHECK(testing::SameBits(All(parts), All(whole)));
  CHECK(EqualsReference(x.view(), kFloats, w, whole.view(), rng));
}

TEST_CASE("codebook: permuted columns meet their activations, rounded ones too", "[codebook]") {
  Rng rng(11);
  const WeightScheme scheme = Codebooks(Granularity::kGroup, 32).front();
  PackedMatrix packed = TiledMatrix::Random(16, 96, scheme, rng).Unpack();
  std::vector<uint32_t> order(96);
  std::iota(order.begin(), order.end(), 0u);
  Shuffle(std::span(order), rng);
  packed.set_order(order);
  const TiledMatrix w(packed);
  const Matrix<float> x = NormalMatrix(2, 96, rng);
  const Matrix<float> y = Product(w, x.view(), kFloats, ActiveIsa());
  CHECK(y(1, 9) == CodebookDefinition(packed, x.view().row_span(1), 9));
  Matrix<float> values(16, 96);
  w.DecodeRows(0, values.view());
  const Matrix<float> rounded = Product(w, x.view(), kBytes, ActiveIsa());
  const double scale = static_cast<double>(testing::LargestOf(x.view().row_span(1)) / 127);
  double sum = 0;
  for (size_t k = 0; k < 96; ++k)
    sum += scale * std::nearbyint(static_cast<double>(x(1, k)) / scale) * values(9, k);
  CHECK(static_cast<double>(rounded(1, 9)) == Approx(sum).epsilon(1e-5));
}

}  // namespace
}  // namespace quantref
