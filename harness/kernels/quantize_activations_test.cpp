#include "harness/kernels/quantize_activations.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "harness/base/rng.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

constexpr float kOutside = -77;

// Rows `padding` elements longer than their columns; what is no element is kOutside.
struct PaddedTokens {
  PaddedTokens(size_t rows, size_t cols, size_t padding)
      : storage(rows * (cols + padding), kOutside),
        view(storage.data(), rows, cols, cols + padding) {}
  PaddedTokens(const PaddedTokens&) = delete;
  PaddedTokens& operator=(const PaddedTokens&) = delete;

  void Randomize(Rng& rng) {
    for (size_t t = 0; t < view.rows(); ++t) {
      // Rows of different loudness, so that a wrong row's scale shows.
      for (float& x : view.row_span(t)) x = static_cast<float>(rng.Normal() * std::exp2(t));
    }
  }

  std::vector<float> storage;
  MatrixView<float> view;
};

float AbsMax(MatrixView<const float> x) {
  float absmax = 0;
  for (size_t t = 0; t < x.rows(); ++t) {
    for (float value : x.row_span(t)) absmax = std::max(absmax, std::fabs(value));
  }
  return absmax;
}

// The formula of harness/quant/activation.h, one element at a time.
std::vector<float> Expected(const ActivationFormat& format, const PaddedTokens& x) {
  std::vector<float> expected = x.storage;
  const float limit = static_cast<float>(std::exp2(format.bits - 1)) - 1;
  for (size_t t = 0; t < x.view.rows(); ++t) {
    const MatrixView<const float> sharing = format.per_token ? x.view.Rows(t, 1) : x.view;
    const float scale = format.static_scale.value_or(AbsMax(sharing) / limit);
    for (size_t c = 0; c < x.view.cols(); ++c) {
      float& value = expected[t * x.view.stride() + c];
      const float code = std::clamp(std::nearbyint(value / scale), -limit, limit) + 0.0f;
      value = scale == 0 ? 0 : scale * code;
    }
  }
  return expected;
}

std::vector<ActivationFormat> Formats() {
  std::vector<ActivationFormat> formats;
  for (int bits : {2, 3, 4, 8}) {
    formats.push_back({bits, true, std::nullopt});
    formats.push_back({bits, false, std::nullopt});
    formats.push_back({bits, false, 0.01f});  // much is beyond its ends
    formats.push_back({bits, false, 0.0f});   // of data that was all 0
  }
  return formats;
}

TEST_CASE("quantize_activations: equals the formula, token by token or over the window",
          "[quantize_activations]") {
  Rng rng(1);
  for (const ActivationFormat& format : Formats()) {
    for (size_t cols : {1, 15, 16, 17, 48, 100}) {
      INFO(format.bits << " bits, per token " << format.per_token << ", " << cols << " columns");
      PaddedTokens x(5, cols, 3), out(5, cols, 2);
      x.Randomize(rng);
      const PaddedTokens dense(5, cols, 2);
      for (size_t t = 0; t < 5; ++t) std::copy_n(x.view.row(t), cols, dense.view.row(t));
      const std::vector<float> before = x.storage;
      QuantizeActivations(format, x.view, out.view);
      CHECK(out.storage == Expected(format, dense));
      CHECK(x.storage == before);
      const std::vector<float> expected = Expected(format, x);
      QuantizeActivations(format, x.view, x.view);
      CHECK(x.storage == expected);
    }
  }
}

TEST_CASE("quantize_activations: outliers stay, and scales are those of the rest",
          "[quantize_activations]") {
  // 3 bits: codes -3..3. Channels 1 and 3 are left out.
  const std::vector<float> x = {3, -9, 0.5f, 5, 0, 7, 6, -1};
  const MatrixView<const float> view(x.data(), 2, 4);
  const std::vector<uint32_t> channels = {1, 3};
  std::vector<float> out(8);
  const MatrixView<float> result(out.data(), 2, 4);
  ActivationFormat format{3, true, std::nullopt, OutlierRule{6, OutlierRule::Weights::kFp16}};
  QuantizeActivations(format, view, result, channels);
  CHECK(out == std::vector<float>{3, -9, 0, 5, 0, 7, 6, -1});
  format.outliers->weights = OutlierRule::Weights::kInt8;  // 5 is below the threshold: scale 5 / 3
  out.assign(x.begin(), x.end());
  QuantizeActivations(format, result, result, channels);
  const float scale = 5.0f / 3;
  CHECK(out == std::vector<float>{scale * 2, -9, 0, 5, 0, 7, 6, -1});
}

TEST_CASE("quantize_activations: worked by hand", "[quantize_activations]") {
  // 3 bits: codes -3..3. Rows with absmax 3 and 6: scales 1 and 2; over both: 2.
  const std::vector<float> x = {3, -1.5f, 0.5f, -0.4f, 2, -6, 3, 1};
  const MatrixView<const float> view(x.data(), 2, 4);
  std::vector<float> out(8);
  const MatrixView<float> result(out.data(), 2, 4);
  QuantizeActivations({3, true, std::nullopt}, view, result);
  CHECK(out == std::vector<float>{3, -2, 0, 0, 2, -6, 4, 0});
  QuantizeActivations({3, false, std::nullopt}, view, result);
  CHECK(out == std::vector<float>{4, -2, 0, 0, 2, -6, 4, 0});
  QuantizeActivations({3, false, 1.0f}, view, result);
  CHECK(out == std::vector<float>{3, -2, 0, 0, 2, -3, 3, 1});
}

TEST_CASE("quantize_activations: in groups, each as a token of its own", "[quantize_activations]") {
  Rng rng(2);
  for (const int bits : {2, 4, 8}) {
    for (const size_t group : {1, 16, 20, 100}) {
      for (const size_t cols : {1, 16, 48, 65}) {
        CAPTURE(bits, group, cols);
        PaddedTokens x(3, cols, 2), out(3, cols, 1);
        x.Randomize(rng);
        QuantizeActivations({.bits = bits, .group = group}, x.view, out.view);
        for (size_t begin = 0; begin < cols; begin += group) {
          const size_t count = std::min(group, cols - begin);
          std::vector<float> expected(3 * count);
          const MatrixView<float> part(expected.data(), 3, count);
          QuantizeActivations({.bits = bits}, x.view.Cols(begin, count), part);
          for (size_t t = 0; t < 3; ++t)
            CHECK(std::equal(part.row(t), part.row(t) + count, out.view.row(t) + begin));
        }
      }
    }
  }
}

// The level of the format that is nearest under the group's scale, found by trying all; of equally
// near ones the one with the even mantissa, which is every other one from 0 on.
float NearestOf(const LevelTable& levels, float scale, float x) {
  float best = 0;
  double least = HUGE_VAL;
  size_t best_rank = 0;
  for (size_t rank = 0; rank < levels.distinct(); ++rank) {
    const double level = levels.Ranked(rank);
    const double error = std::fabs(static_cast<double>(x / scale) - level);
    const bool even = (rank + levels.distinct() / 2) % 2 == 0;
    if (error < least || (error == least && even && best_rank + 1 == rank)) {
      least = error;
      best = scale * levels.Ranked(rank);
      best_rank = rank;
    }
  }
  return best;
}

TEST_CASE("quantize_activations: other formats under static scales", "[quantize_activations]") {
  Rng rng(4);
  PaddedTokens x(3, 40, 2), out(3, 40, 1);
  x.Randomize(rng);
  x.view(1, 7) = std::numeric_limits<float>::infinity();
  const NumberFormat* const fp8 = FindFormat("fp8_e4m3");
  constexpr float kScale = 0.0037f;  // 448 of it are less than the loudest numbers
  QuantizeActivations({.static_scale = kScale, .format = fp8}, x.view, out.view);
  for (size_t t = 0; t < 3; ++t) {
    for (size_t c = 0; c < 40; ++c) {
      if (t == 1 && c == 7) continue;
      REQUIRE(out.view(t, c) == NearestOf(fp8->levels, kScale, x.view(t, c)));
    }
  }
  CHECK(std::isnan(out.view(1, 7)));
  // The scales of groups are E4M3 numbers over the divisor, whatever the token's loudness.
  const NumberFormat* const nvfp4 = FindFormat("nvfp4");
  constexpr float kDivisor = 300;
  QuantizeActivations({.bits = 4, .static_scale = kDivisor, .group = 16, .format = nvfp4}, x.view,
                      out.view);
  for (const size_t t : {0, 2}) {
    for (size_t begin = 0; begin < 40; begin += 16) {
      const size_t count = std::min<size_t>(16, 40 - begin);
      const float absmax = AbsMax(x.view.Rows(t, 1).Cols(begin, count));
      const float scale = NearestOf(fp8->levels, 1, absmax / 6 * kDivisor) / kDivisor;
      for (size_t c = begin; c < begin + count; ++c)
        REQUIRE(out.view(t, c) == NearestOf(nvfp4->levels, scale, x.view(t, c)));
    }
  }
}

TEST_CASE("quantize_activations: in formats with levels of their own", "[quantize_activations]") {
  Rng rng(3);
  for (const NumberFormat* format : ActivationFormats()) {
    if (format->evenly_spaced()) continue;
    const size_t group = format->fixed_group ? format->group : 0;
    const ActivationFormat rounding{.bits = format->bits(), .group = group, .format = format};
    for (const size_t cols : {1, 16, 32, 40, 100}) {
      PaddedTokens x(4, cols, 2), out(4, cols, 1);
      x.Randomize(rng);
      for (size_t c = 0; c < cols; ++c) x.view(3, c) = 0;
      QuantizeActivations(rounding, x.view, out.view);
      for (size_t t = 0; t < 4; ++t) {
        const float largest = AbsMax(x.view.Rows(t, 1));
        for (size_t begin = 0; begin < cols; begin += group == 0 ? cols : group) {
          const size_t count = std::min(group == 0 ? cols : group, cols - begin);
          const float absmax = AbsMax(x.view.Rows(t, 1).Cols(begin, count));
          float scale = absmax / format->levels.Largest();
          if (format->name == "mxfp4" && absmax > 0)  // OCP: 2^(floor(log2 absmax) - 2)
            scale = std::ldexp(1.0f, std::ilogb(absmax) - 2);
          if (format->name == "nvfp4" && largest > 0) {  // E4M3 over the token's divisor
            const float divisor = 448 * 6 / largest;
            const LevelTable& e4m3 = FindFormat("fp8_e4m3")->levels;
            scale = NearestOf(e4m3, 1, scale * divisor) / divisor;
          }
          CAPTURE(format->name, cols, t, begin, scale);
          for (size_t c = begin; c < begin + count; ++c) {
            const float expected = scale > 0 ? NearestOf(format->levels, scale, x.view(t, c)) : 0;
            REQUIRE(out.view(t, c) == expected);
          }
        }
      }
    }
  }
}

TEST_CASE("quantize_activations: what is not finite is not hidden by a format",
          "[quantize_activations]") {
  for (const NumberFormat* format : ActivationFormats()) {
    ActivationFormat rounding{.bits = 8, .group = 16, .format = format};
    if (format->fixed_group) rounding.group = format->group;
    std::vector<float> x(64, 1.0f);
    const MatrixView<float> view(x.data(), 1, 64);
    x[5] = std::numeric_limits<float>::quiet_NaN();
    QuantizeActivations(rounding, view, view);
    CHECK(std::isnan(x[5]));
    x.assign(64, 1e-40f);
    QuantizeActivations(rounding, view, view);
    for (const float value : x) CHECK(std::fabs(value) <= 2e-40f);
  }
}

TEST_CASE("quantize_activations: zeros stay zeros, no rows are no rows", "[quantize_activations]") {
  for (const ActivationFormat& format : Formats()) {
    PaddedTokens x(3, 20, 1);
    for (size_t t = 0; t < 3; ++t) std::fill_n(x.view.row(t), 20, t == 1 ? 1.0f : 0.0f);
    QuantizeActivations(format, x.view, x.view);
    for (size_t c = 0; c < 20; ++c) {
      if (x.view(0, c) != 0 || x.view(2, c) != 0) FAIL("column " << c);
      if (!std::isfinite(x.view(1, c))) FAIL("column " << c);
    }
    PaddedTokens none(0, 20, 1);
    CHECK_NOTHROW(QuantizeActivations(format, none.view, none.view));
  }
}

TEST_CASE("quantize_activations: a token of tiny numbers is not lost", "[quantize_activations]") {
  // absmax / 127 is subnormal: its codes are fewer, but nothing divides by 0.
  const float tiny = 100 * std::numeric_limits<float>::denorm_min();
  std::vector<float> x = {tiny, -tiny, 0, tiny / 2};
  const MatrixView<float> view(x.data(), 1, 4);
  QuantizeActivations({8, true, std::nullopt}, view, view);
  CHECK(x == std::vector<float>{tiny, -tiny, 0, tiny / 2});
}

}  // namespace
}  // namespace quantref
