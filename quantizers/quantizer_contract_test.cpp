#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "harness/base/parallel.h"
#include "harness/base/rng.h"
#include "harness/quant/affine.h"
#include "harness/testing/testing.h"
#include "quantizers/registry.h"

// What every rounder promises, whatever its method. A new one is under test as soon as it is in the
// registry.

namespace quantref {
namespace {

struct NastyMatrix {
  std::string name;
  Matrix<float> weights;
};

template <typename Value>
NastyMatrix Make(const std::string& name, size_t rows, size_t cols, Value value) {
  NastyMatrix made{name, Matrix<float>(rows, cols)};
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) made.weights(r, c) = static_cast<float>(value(r, c));
  }
  return made;
}

std::vector<NastyMatrix> NastyMatrices() {
  constexpr size_t kRows = 5, kCols = 48;
  Rng rng(1);
  const auto normal = [&rng](size_t, size_t) { return 0.05 * rng.Normal(); };
  std::vector<NastyMatrix> all;
  all.push_back(Make("all zero", kRows, kCols, [](size_t, size_t) { return 0.0; }));
  all.push_back(
      Make("signed zeros", kRows, kCols, [](size_t, size_t c) { return c % 2 ? 0.0 : -0.0; }));
  all.push_back(Make("constant rows", kRows, kCols,
                     [](size_t r, size_t) { return 0.3 * static_cast<double>(r) - 0.7; }));
  all.push_back(Make("normal", kRows, kCols, normal));
  all.push_back(Make("one huge outlier", kRows, kCols, [&](size_t r, size_t c) {
    return r == 2 && c == 20 ? -60000.0 : normal(r, c);
  }));
  all.push_back(Make("all positive", kRows, kCols,
                     [&](size_t r, size_t c) { return std::fabs(normal(r, c)) + 1; }));
  all.push_back(Make("all negative", kRows, kCols,
                     [&](size_t r, size_t c) { return -std::fabs(normal(r, c)) - 1; }));
  all.push_back(Make("FP16 subnormals", kRows, kCols,
                     [&](size_t r, size_t c) { return 1e-4 * normal(r, c); }));
  all.push_back(
      Make("below FP16", kRows, kCols, [&](size_t r, size_t c) { return 1e-7 * normal(r, c); }));
  all.push_back(Make("FP32 subnormals", kRows, kCols,
                     [&](size_t r, size_t c) { return 1e-38 * normal(r, c); }));
  all.push_back(Make("the largest of FP16", kRows, kCols,
                     [](size_t r, size_t c) { return (r + c) % 2 ? 65504.0 : -65504.0; }));
  all.push_back(Make("a single column", 48, 1, normal));
  all.push_back(Make("a single row", 1, 48, normal));
  all.push_back(Make("a single weight", 1, 1, [](size_t, size_t) { return -0.37; }));
  all.push_back(Make("an odd width", 3, 7, normal));
  return all;
}

// Every scheme that applies to a matrix of this width.
std::vector<WeightScheme> Schemes(size_t cols) {
  std::vector<WeightScheme> schemes;
  const size_t group = cols % 16 == 0 ? 16 : cols;
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (const Granularity granularity :
         {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
      schemes.push_back({bits, granularity, group, false, false, true});
      schemes.push_back({bits, granularity, group, false, false, false});
      schemes.push_back({bits, granularity, group, true, false, true});
      schemes.push_back({bits, granularity, group, true, true, true});
    }
  }
  return schemes;
}

// Calls check(rounder, input) for every rounder, matrix and scheme.
template <typename Check>
void ForEachInput(Check check) {
  for (const NastyMatrix& matrix : NastyMatrices()) {
    for (const WeightScheme& scheme : Schemes(matrix.weights.cols())) {
      for (const Rounder* rounder : Rounders()) {
        INFO(rounder->name() << ", " << matrix.name << ", " << SchemeName(scheme));
        check(*rounder, RoundInput{"layers.0.mlp.up_proj", matrix.weights.view(), scheme});
      }
    }
  }
}

Matrix<float> Decoded(const PackedMatrix& packed) {
  Matrix<float> values(packed.rows(), packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) packed.DecodeRow(r, values.view().row_span(r));
  return values;
}

TEST_CASE("contract: the result has the shape and the scheme that were asked for", "[contract]") {
  ForEachInput([](const Rounder& rounder, const RoundInput& input) {
    const PackedMatrix packed = rounder.Round(input);
    CHECK(packed.rows() == input.weights.rows());
    CHECK(packed.cols() == input.weights.cols());
    CHECK(packed.scheme() == input.scheme);
  });
}

TEST_CASE("contract: codes and zero points lie in the scheme's range", "[contract]") {
  ForEachInput([](const Rounder& rounder, const RoundInput& input) {
    const PackedMatrix packed = rounder.Round(input);
    const CodeRange range = Codes(input.scheme);
    std::vector<uint8_t> codes(packed.cols());
    int least = range.max, most = range.min;
    for (size_t r = 0; r < packed.rows(); ++r) {
      packed.GetCodes(r, codes);
      for (const int code : codes) {
        least = std::min(least, code);
        most = std::max(most, code);
      }
    }
    CHECK(least >= range.min);
    CHECK(most <= range.max);
    for (size_t i = 0; i < packed.scale_rows() * packed.scale_cols(); ++i) {
      const Affine affine = packed.affine(i / packed.scale_cols(), i % packed.scale_cols());
      const bool right = affine.scale >= 0 && std::isfinite(affine.scale) &&
                         affine.zero >= range.min && affine.zero <= range.max;
      if (!right) FAIL("scale " << affine.scale << ", zero point " << affine.zero);
    }
  });
}

// The zero point is a code, so 0 is a point of every grid: to leave a weight out costs no more than
// the weight itself, and a method that does worse than leaving all weights out is wrong. FP32 may
// tip a quotient over a tie.
TEST_CASE("contract: no worse than zeros in the place of the weights", "[contract]") {
  ForEachInput([](const Rounder& rounder, const RoundInput& input) {
    const Matrix<float> decoded = Decoded(rounder.Round(input));
    double largest = 0, worst = 0, squares = 0, error_squares = 0;
    bool finite = true;
    for (size_t r = 0; r < decoded.rows(); ++r) {
      for (size_t c = 0; c < decoded.cols(); ++c) {
        const double w = static_cast<double>(input.weights(r, c));
        const double error = std::fabs(w - static_cast<double>(decoded(r, c)));
        finite &= std::isfinite(decoded(r, c));
        largest = std::max(largest, std::fabs(w));
        worst = std::max(worst, error);
        squares += w * w;
        error_squares += error * error;
      }
    }
    CHECK(finite);
    CHECK(worst <= largest * (1 + 1e-6));
    CHECK(error_squares <= squares * (1 + 1e-6));
  });
}

TEST_CASE("contract: eight bits of normal weights leave a hundredth of them", "[contract]") {
  constexpr size_t kRows = 64, kCols = 64;
  Rng rng(2);
  const NastyMatrix normal =
      Make("normal", kRows, kCols, [&rng](size_t, size_t) { return rng.Normal(); });
  for (const Rounder* rounder : Rounders()) {
    for (const WeightScheme& scheme : Schemes(kCols)) {
      if (scheme.bits != kMaxBits) continue;
      INFO(rounder->name() << ", " << SchemeName(scheme));
      const Matrix<float> decoded = Decoded(rounder->Round({"w", normal.weights.view(), scheme}));
      double error_squares = 0;
      for (size_t i = 0; i < kRows * kCols; ++i) {
        const double error =
            static_cast<double>(decoded.data()[i]) - static_cast<double>(normal.weights.data()[i]);
        error_squares += error * error;
      }
      // The weights lie within 4.5 deviations: a step is at most 2 * 4.5 / 254 wide, and errors
      // spread evenly over it are 0.29 of it on the average.
      CHECK(std::sqrt(error_squares / (kRows * kCols)) < 0.0104);
    }
  }
}

TEST_CASE("contract: the same input gives the same bits", "[contract]") {
  ForEachInput([](const Rounder& rounder, const RoundInput& input) {
    CHECK(rounder.Round(input).Sha256() == rounder.Round(input).Sha256());
  });
}

TEST_CASE("contract: threads may share a rounder", "[contract]") {
  const std::vector<NastyMatrix> matrices = NastyMatrices();
  for (const Rounder* rounder : Rounders()) {
    const auto round = [&](size_t i) {
      const MatrixView<const float> weights = matrices[i % matrices.size()].weights.view();
      return rounder->Round({"w", weights, {.granularity = Granularity::kRow}}).Sha256();
    };
    std::vector<std::string> beside(4 * matrices.size());
    ParallelFor(beside.size(), 4, [&](size_t i, size_t) { beside[i] = round(i); });
    INFO(rounder->name());
    for (size_t i = 0; i < beside.size(); ++i) CHECK(beside[i] == round(i));
  }
}

TEST_CASE("contract: rows may lie apart in memory, and the name does not matter", "[contract]") {
  ForEachInput([](const Rounder& rounder, const RoundInput& input) {
    const size_t rows = input.weights.rows(), cols = input.weights.cols();
    Matrix<float> wide(rows, cols + 3);
    std::fill_n(wide.data(), rows * (cols + 3), std::numeric_limits<float>::quiet_NaN());
    for (size_t r = 0; r < rows; ++r) {
      std::copy_n(input.weights.row(r), cols, wide.row(r) + 2);
    }
    RoundInput apart = input;
    apart.weights = wide.view().Cols(2, cols);
    apart.name = "lm_head";
    CHECK(rounder.Round(apart).Sha256() == rounder.Round(input).Sha256());
  });
}

TEST_CASE("contract: the registry's names", "[contract]") {
  REQUIRE_FALSE(Rounders().empty());
  std::set<std::string_view> names;
  for (const Rounder* rounder : Rounders()) {
    const std::string_view name = rounder->name();
    INFO(name);
    CHECK(names.insert(name).second);
    CHECK(FindRounder(name) == rounder);
    CHECK_FALSE(name.empty());
    // '+' and ',' join methods in configs and on the command line.
    CHECK(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == name.npos);
    CHECK_FALSE(rounder->summary().empty());
    CHECK(rounder->summary().find('\n') == std::string_view::npos);
  }
  CHECK(FindRounder("nothing") == nullptr);
  CHECK(FindRounder("") == nullptr);
}

TEST_CASE("contract: no header of this folder is missing in the registry", "[contract]") {
  size_t headers = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(testing::SourceDir() / "quantizers")) {
    const std::filesystem::path& path = entry.path();
    if (path.extension() != ".h" || path.filename() == "registry.h") continue;
    ++headers;
    INFO(path.filename() << ": its rounder is named after it and belongs into registry.cpp");
    CHECK(FindRounder(path.stem().string()) != nullptr);
  }
  CHECK(headers == Rounders().size());
}

}  // namespace
}  // namespace quantref
