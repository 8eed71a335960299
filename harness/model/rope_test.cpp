#include "harness/model/rope.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <complex>
#include <cstdint>
#include <vector>

#include "harness/model/model_testing.h"
#include "harness/model/ops.h"

namespace quantref {
namespace {

using testing::At;
using testing::NormalMatrix;

TEST_CASE("rope: ApplyRope turns each pair of each head by its position's angle", "[rope]") {
  ModelConfig config;
  config.rope_theta = 1000;
  for (const size_t head_dim : {2, 8, 40}) {
    config.head_dim = head_dim;
    constexpr size_t kTokens = 70, kHeads = 3;
    const Matrix<float> before = NormalMatrix(kTokens, kHeads * head_dim, 1);
    Matrix<float> after = NormalMatrix(kTokens, kHeads * head_dim, 1);
    ApplyRope(RopeTable(config, kTokens + 9), head_dim, after.view());
    double worst = 0;
    for (size_t t = 0; t < kTokens; ++t) {
      for (size_t i = 0; i < kHeads * head_dim; ++i) {
        const size_t pair = i % head_dim;
        if (pair >= head_dim / 2) continue;
        const size_t other = i + head_dim / 2;
        const double frequency =
            std::pow(1000.0, -2 * static_cast<double>(pair) / static_cast<double>(head_dim));
        const std::complex<double> x(At(before.view(), t, i), At(before.view(), t, other));
        const std::complex<double> y(At(after.view(), t, i), At(after.view(), t, other));
        worst =
            std::max(worst, std::abs(y - x * std::polar(1.0, frequency * static_cast<double>(t))));
      }
    }
    INFO(head_dim);
    CHECK(worst < 1e-6);
  }
}

TEST_CASE("rope: RopeTable has the angles of plain and linear frequencies", "[rope]") {
  ModelConfig config;
  config.head_dim = 4;
  config.rope_theta = 10000;
  const RopeTable plain(config, 50);
  CHECK(plain.cosines.rows() == 50);
  CHECK(plain.cosines.cols() == 2);
  CHECK(plain.cosines(0, 1) == 1.0f);
  CHECK(plain.sines(0, 1) == 0.0f);
  CHECK(plain.cosines(3, 0) == static_cast<float>(std::cos(3.0)));
  CHECK(plain.sines(49, 1) == static_cast<float>(std::sin(0.49)));
  config.rope_scaling = {.kind = RopeScaling::Kind::kLinear, .factor = 4};
  const RopeTable linear(config, 50);
  CHECK(linear.cosines(6, 0) == static_cast<float>(std::cos(1.5)));
  CHECK(linear.sines(40, 1) == static_cast<float>(std::sin(0.1)));
}

TEST_CASE("rope: RopeTable has Llama 3.1's frequencies", "[rope]") {
  ModelConfig config;
  config.head_dim = 128;
  config.rope_theta = 500000;
  config.rope_scaling = {.kind = RopeScaling::Kind::kLlama3,
                         .factor = 8,
                         .low_freq_factor = 1,
                         .high_freq_factor = 4,
                         .original_context = 8192};
  const RopeTable table(config, 2);
  // By the wavelength formula of Meta's published code, worked out apart from this program.
  const struct {
    size_t pair;
    double frequency;
  } expected[] = {
      {0, 1.0},
      {1, 0.8146172338565447},
      {28, 0.0032114459947525913},  // waves of 1956 tokens, below 8192 / 4: left alone
      {29, 0.002166570763503359},   // waves of 2402: blended
      {31, 0.0008567514129196321},
      {34, 0.00017850781276799638},
      {35, 9.556212353964683e-05},  // waves of 8219, above 8192: slowed eightfold
      {63, 3.068925988914511e-07},
  };
  for (const auto& [pair, frequency] : expected) {
    INFO(pair);
    CHECK(static_cast<double>(table.sines(1, pair)) == Approx(std::sin(frequency)).epsilon(1e-7));
  }
}

TEST_CASE("rope: a RopeTable of the last positions has the rows of the whole", "[rope]") {
  ModelConfig config;
  config.head_dim = 8;
  config.rope_scaling = {.kind = RopeScaling::Kind::kDynamic, .factor = 4, .original_context = 20};
  const RopeTable whole(config, 50), rest(config, 50, 47);
  CHECK(rest.length() == 50);
  REQUIRE(rest.cosines.rows() == 3);
  for (size_t row = 0; row < 3; ++row) {
    CHECK(
        std::equal(rest.cosines.row(row), rest.cosines.row(row) + 4, whole.cosines.row(47 + row)));
    CHECK(std::equal(rest.sines.row(row), rest.sines.row(row) + 4, whole.sines.row(47 + row)));
  }
  Matrix<float> x = NormalMatrix(50, 16, 1), last = NormalMatrix(50, 16, 1);
  ApplyRope(whole, 8, x.view());
  ApplyRope(rest, 8, last.view().Rows(47, 3), 47);
  CHECK(std::equal(x.row(47), x.row(47) + 3 * 16, last.row(47)));
}

TEST_CASE("rope: RopeTables have for every text the table of its length", "[rope]") {
  ModelConfig config;
  config.head_dim = 8;
  config.rope_scaling = {.kind = RopeScaling::Kind::kDynamic, .factor = 4, .original_context = 20};
  const RopeTables tables(config, 50);
  for (const size_t length : {12, 20, 21, 50}) {
    const RopeTable own(config, length);
    tables.With(config, length, 9, [&](const RopeTable& table) {
      REQUIRE(table.first <= 9);
      REQUIRE(table.length() >= length);
      for (size_t at = 9; at < length; ++at) {
        const float* const cosines = table.cosines.row(at - table.first);
        CHECK(std::equal(cosines, cosines + 4, own.cosines.row(at)));
      }
    });
  }
  const RopeTable* kept = nullptr;
  tables.With(config, 20, 0, [&](const RopeTable& table) { kept = &table; });
  tables.With(config, 5, 3, [&](const RopeTable& table) { CHECK(&table == kept); });
}

TEST_CASE("rope: dynamic frequencies follow the length beyond the original context", "[rope]") {
  ModelConfig config;
  config.head_dim = 128;
  const std::vector<double> plain = RopeFrequencies(config, 4096);
  config.rope_scaling = {
      .kind = RopeScaling::Kind::kDynamic, .factor = 2, .original_context = 4096};
  CHECK(RopeFrequencies(config, 4096) == plain);
  CHECK(CommonRopeLength(config, 8192) == 4096);
  CHECK(CommonRopeLength(config, 100) == 100);
  // From transformers 5.24's _compute_dynamic_ntk_parameters in double.
  const std::vector<double> longer = RopeFrequencies(config, 8192);
  CHECK(longer[0] == 1);
  CHECK(longer[1] == Approx(0.8509942913412162).epsilon(1e-12));
  CHECK(longer[63] == Approx(3.849273282298194e-05).epsilon(1e-12));
}

TEST_CASE("rope: yarn's frequencies and attention factor", "[rope]") {
  ModelConfig config;
  config.head_dim = 128;
  config.rope_scaling = {.kind = RopeScaling::Kind::kYarn,
                         .factor = 16,
                         .original_context = 4096,
                         .attention_factor = 1.2772588722239782};
  // From transformers 5.24's _compute_yarn_parameters in double: left alone, on the ramp, slowed.
  const std::vector<double> found = RopeFrequencies(config, 100);
  const struct {
    size_t pair;
    double frequency;
  } expected[] = {{0, 1.0},
                  {20, 0.05623413251903491},
                  {21, 0.046940859997959404},
                  {30, 0.00852684377296741},
                  {45, 0.0001517716047318249},
                  {46, 8.334508951020775e-05},
                  {63, 7.217387404309114e-06}};
  for (const auto& [pair, frequency] : expected) {
    INFO(pair);
    CHECK(found[pair] == Approx(frequency).epsilon(1e-12));
  }
  CHECK(found == RopeFrequencies(config, 60000));
  const RopeTable table(config, 4);
  CHECK(table.cosines(0, 5) == 1.2772588722239782f);
  CHECK(static_cast<double>(table.sines(3, 0)) == Approx(1.2772588722239782 * std::sin(3.0)));
}

}  // namespace
}  // namespace quantref
