#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <vector>

#include "quantizers/gptq.h"
#include "quantizers/gptq_solver.h"
#include "quantizers/statistics_testing.h"

// GPTAQ, the knob `asymmetric` of GPTQ; against PyTorch in gptq_golden_test.cpp.

namespace quantref {
namespace {

using testing::CorrelatedInputs;
using testing::CrossOf;
using testing::GramOf;
using testing::NormalMatrix;

struct AsymmetricInputs {
  AsymmetricInputs(size_t tokens, size_t channels)
      : x(CorrelatedInputs(tokens, channels, 1)), reference(CorrelatedInputs(tokens, channels, 2)) {
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t j = 0; j < channels; ++j) reference(t, j) = x(t, j) + 0.3f * reference(t, j);
    }
    statistics.gram = GramOf(x);
    statistics.cross = CrossOf(reference, x);
  }
  Matrix<float> x, reference;
  InputStatistics statistics;
};

PackedMatrix RoundAsymmetric(const Matrix<float>& weights, const AsymmetricInputs& inputs,
                             const std::map<std::string, double>& settings) {
  Knobs knobs(Gptq().knobs());
  for (const auto& [name, value] : settings) knobs.Set(name, value);
  return Gptq()
      .Round({.name = "w",
              .weights = weights.view(),
              .scheme = {.bits = 3, .group = 16},
              .inputs = &inputs.statistics,
              .knobs = &knobs})
      .packed;
}

// |W R - Q X|^2: what is left between the outputs of both.
double OutputGap(const Matrix<float>& weights, const PackedMatrix& packed,
                 const AsymmetricInputs& inputs) {
  std::vector<float> decoded(packed.cols());
  double sum = 0;
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.DecodeRow(r, decoded);
    for (size_t t = 0; t < inputs.x.rows(); ++t) {
      double gap = 0;
      for (size_t c = 0; c < packed.cols(); ++c) {
        gap += static_cast<double>(weights(r, c)) * static_cast<double>(inputs.reference(t, c)) -
               static_cast<double>(decoded[c]) * static_cast<double>(inputs.x(t, c));
      }
      sum += gap * gap;
    }
  }
  return sum;
}

TEST_CASE("gptq, asymmetric: outputs come closer to the reference's", "[gptq]") {
  const AsymmetricInputs inputs(256, 64);
  const Matrix<float> weights = NormalMatrix(32, 64, 3);
  const double plain = OutputGap(weights, RoundAsymmetric(weights, inputs, {}), inputs);
  double before = plain;
  for (const double alpha : {0.25, 1.0}) {
    const double gap = OutputGap(
        weights, RoundAsymmetric(weights, inputs, {{"asymmetric", 1}, {"asymmetry", alpha}}),
        inputs);
    INFO("alpha " << alpha << ": " << gap << " beside " << plain);
    CHECK(gap < 0.99 * before);
    before = gap;
  }
}

TEST_CASE("gptq, asymmetric: the same codes where the reference gives the same", "[gptq]") {
  AsymmetricInputs inputs(128, 32);
  inputs.statistics.cross = CrossOf(inputs.x, inputs.x);
  const Matrix<float> weights = NormalMatrix(16, 32, 4);
  const PackedMatrix plain = RoundAsymmetric(weights, inputs, {});
  CHECK(RoundAsymmetric(weights, inputs, {{"asymmetric", 1}}).Sha256() == plain.Sha256());
  AsymmetricInputs others(128, 32);
  CHECK(RoundAsymmetric(weights, others, {{"asymmetric", 1}, {"asymmetry", 0}}).Sha256() ==
        plain.Sha256());
  CHECK(RoundAsymmetric(weights, others, {{"asymmetric", 1}}).Sha256() != plain.Sha256());
}

TEST_CASE("gptq, asymmetric: the block does not matter, but for rounding", "[gptq]") {
  const AsymmetricInputs inputs(256, 64);
  const Matrix<float> weights = NormalMatrix(32, 64, 5);
  const std::map<std::string, double> whole = {{"asymmetric", 1}, {"asymmetry", 1}, {"block", 64}};
  for (const double block : {1.0, 7.0, 16.0}) {
    std::map<std::string, double> parts = whole;
    parts["block"] = block;
    const PackedMatrix a = RoundAsymmetric(weights, inputs, whole);
    const PackedMatrix b = RoundAsymmetric(weights, inputs, parts);
    std::vector<uint8_t> left(64), right(64);
    size_t differ = 0;
    for (size_t r = 0; r < a.rows(); ++r) {
      a.GetCodes(r, left);
      b.GetCodes(r, right);
      for (size_t c = 0; c < 64; ++c) differ += left[c] != right[c];
    }
    INFO("block " << block);
    CHECK(differ <= 64);  // a row at most
  }
}

// Two columns by hand, H = I: U = I, P_01 = alpha C_01, so w_1 becomes w_1 + w_0 P_01.
TEST_CASE("gptq, asymmetric: two columns by hand", "[gptq]") {
  Matrix<double> gram(2, 2), cross(2, 2);
  gram(0, 0) = gram(1, 1) = 1;
  gram(0, 1) = gram(1, 0) = 0;
  cross(0, 0) = cross(1, 0) = 9;  // on and below the diagonal: of no column behind
  cross(0, 1) = 0.5;
  cross(1, 1) = 7;
  const GptqFactor factor = Factorize(gram.view(), 0, false, {.cross = cross.view(), .alpha = 0.5});
  CHECK(factor.carried(0, 1) == 0.25f);
  CHECK(factor.carried(0, 0) == 0);
  CHECK(factor.carried(1, 0) == 0);
  CHECK(factor.carried(1, 1) == 0);
}

TEST_CASE("gptq, asymmetric: asks for the reference's inputs", "[gptq]") {
  Knobs knobs(Gptq().knobs());
  CHECK_FALSE(Gptq().needs(knobs).cross);
  knobs.Set("asymmetric", 1);
  CHECK(Gptq().needs(knobs).cross);
  CHECK(Gptq().needs(knobs).gram);
}

}  // namespace
}  // namespace quantref
