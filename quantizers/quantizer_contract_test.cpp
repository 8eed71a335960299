#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "harness/base/parallel.h"
#include "harness/base/rng.h"
#include "harness/quant/affine.h"
#include "harness/quant/format.h"
#include "harness/quant/quant_testing.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

// What every rounder promises, whatever its method. A new one is under test as soon as it is in the
// registry.

namespace quantref {
namespace {

using testing::CorrelatedInputs;
using testing::CrossOf;
using testing::FlagVariants;
using testing::FormatSchemes;
using testing::GramOf;
using testing::OutputError;

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
  all.push_back(Make("far below FP16", kRows, kCols,
                     [&](size_t r, size_t c) { return 1e-24 * normal(r, c); }));
  all.push_back(Make("the largest of FP16", kRows, kCols,
                     [](size_t r, size_t c) { return (r + c) % 2 ? 65504.0 : -65504.0; }));
  all.push_back(Make("a single column", 48, 1, normal));
  all.push_back(Make("a single row", 1, 48, normal));
  all.push_back(Make("a single weight", 1, 1, [](size_t, size_t) { return -0.37; }));
  all.push_back(Make("an odd width", 3, 7, normal));
  return all;
}

// Of the formats beside int; where they leave the bits open, of some.
void AddOtherFormats(size_t group, std::vector<WeightScheme>& schemes) {
  for (WeightScheme scheme : FormatSchemes(group)) {
    const int own = scheme.format->bits();
    for (const int bits : own > 0 ? std::vector<int>{own} : std::vector<int>{2, 3, 8}) {
      scheme.bits = bits;
      schemes.push_back(scheme);
    }
  }
}

// Every scheme that applies to a matrix of this width.
std::vector<WeightScheme> Schemes(size_t cols) {
  std::vector<WeightScheme> schemes;
  const size_t group = cols % 16 == 0 ? 16 : cols;
  AddOtherFormats(group, schemes);
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

struct NastyInputs {
  std::string name;
  InputStatistics statistics;
};

NastyInputs Describe(const std::string& name, const Matrix<float>& inputs) {
  NastyInputs made{name, {}};
  made.statistics.tokens = inputs.rows();
  made.statistics.gram = GramOf(inputs);
  // Of a reference whose inputs are a little louder, channel by channel.
  Matrix<float> reference(inputs.rows(), inputs.cols());
  for (size_t t = 0; t < inputs.rows(); ++t) {
    for (size_t j = 0; j < inputs.cols(); ++j)
      reference(t, j) = inputs(t, j) * (1 + 0.01f * static_cast<float>(j % 5));
  }
  made.statistics.cross = CrossOf(reference, inputs);
  return made;
}

// Only rounders that ask for statistics get any.
const std::vector<NastyInputs>& AllInputs(size_t channels) {
  static std::map<size_t, std::vector<NastyInputs>> by_width;
  std::vector<NastyInputs>& all = by_width[channels];
  if (!all.empty()) return all;
  const size_t tokens = 2 * channels + 8;
  all.push_back(Describe("full rank", CorrelatedInputs(tokens, channels, 3)));
  all.push_back(Describe("one token", CorrelatedInputs(1, channels, 4)));
  Matrix<float> inputs = CorrelatedInputs(tokens, channels, 5);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t j = 0; j < channels; j += 3) inputs(t, j) = 0;
  }
  all.push_back(Describe("dead channels", inputs));
  inputs = CorrelatedInputs(tokens, channels, 6);
  for (size_t t = 0; t < tokens; ++t) inputs(t, channels / 2) *= 1e4f;
  all.push_back(Describe("a huge channel", inputs));
  std::fill_n(inputs.data(), tokens * channels, 0.0f);
  all.push_back(Describe("all zero inputs", inputs));
  return all;
}

// One input of a rounder, and what it made of it.
struct Tried {
  const Rounder* rounder;
  RoundInput input;
  std::string about;
  PackedMatrix packed;
};

const std::vector<Knobs>& VariantsOf(const Rounder& rounder) {
  static std::map<const Rounder*, std::vector<Knobs>> of_rounder;
  std::vector<Knobs>& variants = of_rounder[&rounder];
  if (variants.empty()) variants = FlagVariants(rounder);
  return variants;
}

// Whether each flag of a rounder is turned over for the scheme: of evenly spaced codes for 3 bits,
// of tables in groups, whose scales are of every type.
bool TriesFlags(const WeightScheme& scheme) {
  return scheme.format->evenly_spaced() ? scheme.bits == 3
                                        : scheme.granularity == Granularity::kGroup;
}

// One matrix in one scheme: without statistics; with each kind of them for widths of 2, 4 and 8
// bits; and with the first two kinds and each flag of the rounder turned over for some schemes.
void TryScheme(const Rounder& rounder, const NastyMatrix& matrix, const WeightScheme& scheme,
               std::vector<Tried>& all) {
  const std::vector<Knobs>& variants = VariantsOf(rounder);
  const std::vector<NastyInputs>& all_inputs = AllInputs(matrix.weights.cols());
  RoundInput input{"layers.0.mlp.up_proj", matrix.weights.view(), scheme};
  const std::string about =
      std::string(rounder.name()) + ", " + matrix.name + ", " + SchemeName(scheme);
  const auto round = [&](const std::string& more) {
    INFO(about << more);
    all.push_back({&rounder, input, about + more, rounder.Round(input).packed});
  };
  round("");
  if (!rounder.needs(variants[0]).Any()) return;
  for (const NastyInputs& inputs : all_inputs) {
    if (scheme.bits != 2 && scheme.bits != 4 && scheme.bits != 8) break;
    input.inputs = &inputs.statistics;
    round(", " + inputs.name);
  }
  for (size_t i = 0; TriesFlags(scheme) && i < 2 * variants.size(); ++i) {
    input.inputs = &all_inputs[i % 2].statistics;
    input.knobs = &variants[i / 2];
    round(", " + all_inputs[i % 2].name + ", variant " + std::to_string(i / 2) + " of the flags");
  }
}

// Of every rounder, matrix and scheme that it supports.
const std::vector<Tried>& AllTried() {
  static const std::vector<NastyMatrix> matrices = NastyMatrices();
  static const std::vector<Tried> all = [] {
    std::vector<Tried> made;
    for (const Rounder* rounder : Rounders()) {
      for (const NastyMatrix& matrix : matrices) {
        for (const WeightScheme& scheme : Schemes(matrix.weights.cols())) {
          if (rounder->Supports(scheme)) TryScheme(*rounder, matrix, scheme, made);
        }
      }
    }
    return made;
  }();
  return all;
}

Matrix<float> Decoded(const PackedMatrix& packed) {
  Matrix<float> values(packed.rows(), packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) packed.DecodeRow(r, values.view().row_span(r));
  return values;
}

TEST_CASE("contract: the result has the shape and the scheme that were asked for", "[contract]") {
  for (const Tried& tried : AllTried()) {
    INFO(tried.about);
    CHECK(tried.packed.rows() == tried.input.weights.rows());
    CHECK(tried.packed.cols() == tried.input.weights.cols());
    CHECK(tried.packed.scheme() == tried.input.scheme);
  }
}

TEST_CASE("contract: codes and zero points lie in the scheme's range", "[contract]") {
  for (const Tried& tried : AllTried()) {
    INFO(tried.about);
    const PackedMatrix& packed = tried.packed;
    const WeightScheme& scheme = tried.input.scheme;
    const bool affine = scheme.format->affine();
    const CodeRange range =
        affine ? Codes(scheme) : CodeRange{.min = 0, .max = (1 << scheme.bits) - 1};
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
    const ScaleShape& shape = packed.scales();
    for (size_t i = 0; i < shape.count(); ++i) {
      const Grid grid = packed.grid(i / shape.cols, i % shape.cols);
      const int zero = affine ? grid.affine().zero : range.min;
      // Scales that are quantized themselves may come out a little below 0.
      const bool signed_scale = scheme.double_quant;
      const bool right = (grid.scale() >= 0 || signed_scale) && std::isfinite(grid.scale()) &&
                         std::isfinite(grid.zero()) && zero >= range.min && zero <= range.max;
      if (!right) FAIL("scale " << grid.scale() << ", zero point " << zero);
    }
  }
}

double MeanDiagonal(const Matrix<double>& gram) {
  double sum = 0;
  for (size_t j = 0; j < gram.cols(); ++j) sum += gram(j, j);
  return sum / static_cast<double>(gram.cols());
}

// The zero point is a code, so 0 is a point of every grid: to leave a weight out costs no more than
// the weight itself, and a method that does worse than leaving all weights out is wrong. FP32 may
// tip a quotient over a tie. A method that knows the inputs may trade the error of one weight for
// that of another: there it is the outputs that may not change more than if they were all 0. It may
// take the inputs as if white noise of a fiftieth of their mean square had been added to them.
TEST_CASE("contract: no worse than zeros in the place of the weights", "[contract]") {
  for (const Tried& tried : AllTried()) {
    INFO(tried.about);
    const RoundInput& input = tried.input;
    const Matrix<float> decoded = Decoded(tried.packed);
    Matrix<double> weights(decoded.rows(), decoded.cols()), change(decoded.rows(), decoded.cols());
    double largest = 0, worst = 0, squares = 0, error_squares = 0;
    bool finite = true;
    for (size_t r = 0; r < decoded.rows(); ++r) {
      for (size_t c = 0; c < decoded.cols(); ++c) {
        const double w = weights(r, c) = static_cast<double>(input.weights(r, c));
        const double error = change(r, c) = w - static_cast<double>(decoded(r, c));
        finite &= std::isfinite(decoded(r, c));
        largest = std::max(largest, std::fabs(w));
        worst = std::max(worst, std::fabs(error));
        squares += w * w;
        error_squares += error * error;
      }
    }
    CHECK(finite);
    if (input.inputs == nullptr) {
      CHECK(worst <= largest * (1 + 1e-6));
      CHECK(error_squares <= squares * (1 + 1e-6));
    } else {
      const Matrix<double>& gram = input.inputs->gram;
      CHECK(OutputError(change, gram) <=
            OutputError(weights, gram) * (1 + 1e-6) + 0.02 * MeanDiagonal(gram) * squares);
    }
  }
}

TEST_CASE("contract: eight bits of normal weights leave a hundredth of them", "[contract]") {
  constexpr size_t kRows = 64, kCols = 64;
  Rng rng(2);
  const NastyMatrix normal =
      Make("normal", kRows, kCols, [&rng](size_t, size_t) { return rng.Normal(); });
  for (const Rounder* rounder : Rounders()) {
    for (const WeightScheme& scheme : Schemes(kCols)) {
      if (scheme.bits != kMaxBits || !scheme.format->evenly_spaced()) continue;
      if (!rounder->Supports(scheme)) continue;
      INFO(rounder->name() << ", " << SchemeName(scheme));
      const Matrix<float> decoded =
          Decoded(rounder->Round({"w", normal.weights.view(), scheme}).packed);
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

// The scheme, or one of its granularity in a format that the rounder supports.
WeightScheme SupportedScheme(const Rounder& rounder, const WeightScheme& scheme) {
  if (rounder.Supports(scheme)) return scheme;
  for (const WeightScheme& other : FormatSchemes(scheme.group)) {
    if (other.granularity == scheme.granularity && rounder.Supports(other)) return other;
  }
  FAIL(rounder.name() << " supports no format");
  return scheme;
}

TEST_CASE("contract: threads may share a rounder", "[contract]") {
  const std::vector<NastyMatrix> matrices = NastyMatrices();
  for (const Rounder* rounder : Rounders()) {
    const bool asks = rounder->needs(Knobs(rounder->knobs())).Any();
    std::vector<RoundInput> inputs;
    for (const NastyMatrix& matrix : matrices) {
      inputs.push_back({"w", matrix.weights.view(),
                        SupportedScheme(*rounder, {.granularity = Granularity::kRow})});
      if (asks) inputs.back().inputs = &AllInputs(matrix.weights.cols())[0].statistics;
    }
    const auto round = [&](size_t i) {
      return rounder->Round(inputs[i % inputs.size()]).packed.Sha256();
    };
    std::vector<std::string> beside(4 * inputs.size());
    ParallelFor(beside.size(), 4, [&](size_t i, size_t) { beside[i] = round(i); });
    INFO(rounder->name());
    for (size_t i = 0; i < beside.size(); ++i) CHECK(beside[i] == round(i));
  }
}

TEST_CASE("contract: the number of threads does not matter", "[contract]") {
  const size_t rows = 600, cols = 16;
  const NastyMatrix normal =
      Make("normal", rows, cols, [rng = Rng(7)](size_t, size_t) mutable { return rng.Normal(); });
  for (const Rounder* rounder : Rounders()) {
    RoundInput input{"w", normal.weights.view(),
                     SupportedScheme(*rounder, {.bits = 3, .group = 8})};
    if (rounder->needs(Knobs(rounder->knobs())).Any())
      input.inputs = &AllInputs(cols)[0].statistics;
    const std::string alone = rounder->Round(input).packed.Sha256();
    for (const size_t threads : {2, 5}) {
      INFO(rounder->name() << ", " << threads << " threads");
      input.threads = threads;
      CHECK(rounder->Round(input).packed.Sha256() == alone);
    }
  }
}

TEST_CASE("contract: the same input gives the same bits, wherever its rows lie, whatever its name",
          "[contract]") {
  for (const Tried& tried : AllTried()) {
    INFO(tried.about);
    const RoundInput& input = tried.input;
    const size_t rows = input.weights.rows(), cols = input.weights.cols();
    Matrix<float> wide(rows, cols + 3);
    std::fill_n(wide.data(), rows * (cols + 3), std::numeric_limits<float>::quiet_NaN());
    for (size_t r = 0; r < rows; ++r) {
      std::copy_n(input.weights.row(r), cols, wide.row(r) + 2);
    }
    RoundInput apart = input;
    apart.weights = wide.view().Cols(2, cols);
    apart.name = "lm_head";
    CHECK(tried.rounder->Round(apart).packed.Sha256() == tried.packed.Sha256());
  }
}

}  // namespace
}  // namespace quantref
