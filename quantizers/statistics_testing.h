#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/method/quantizer.h"
#include "harness/quant/packed_matrix.h"
#include "harness/testing/random.h"
#include "quantizers/registry.h"

// What tests of rounders that look at the inputs share.

namespace quantref::testing {

// (tokens, channels): each channel shares the half of the one before it, and their sizes differ.
inline Matrix<float> CorrelatedInputs(size_t tokens, size_t channels, uint64_t seed) {
  Matrix<float> x = NormalMatrix(tokens, channels, seed);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t j = 1; j < channels; ++j) x(t, j) = 0.5f * x(t, j) + 0.8f * x(t, j - 1);
    for (size_t j = 0; j < channels; ++j) x(t, j) *= 0.2f + static_cast<float>(j * 7 % 11);
  }
  return x;
}

inline Matrix<double> GramOf(const Matrix<float>& inputs) {
  Matrix<double> gram(inputs.cols(), inputs.cols());
  for (size_t i = 0; i < inputs.cols(); ++i) {
    for (size_t j = 0; j <= i; ++j) {
      const float* x = inputs.data();
      double sum = 0;
      for (size_t t = 0; t < inputs.rows(); ++t, x += inputs.cols()) {
        sum += static_cast<double>(x[i]) * static_cast<double>(x[j]);
      }
      gram(i, j) = gram(j, i) = sum;
    }
  }
  return gram;
}

// Sum of (r - x) x^T over the rows of both.
inline Matrix<double> CrossOf(const Matrix<float>& reference, const Matrix<float>& inputs) {
  const size_t channels = inputs.cols();
  Matrix<double> cross(channels, channels);
  for (size_t i = 0; i < channels; ++i) {
    for (size_t j = 0; j < channels; ++j) {
      const float *r = reference.data(), *x = inputs.data();
      double sum = 0;
      for (size_t t = 0; t < inputs.rows(); ++t, r += channels, x += channels) {
        const double change = static_cast<double>(r[i]) - static_cast<double>(x[i]);
        sum += change * static_cast<double>(x[j]);
      }
      cross(i, j) = sum;
    }
  }
  return cross;
}

// tr(D G D^T): the squared change of the outputs where the weights change by D.
inline double OutputError(const Matrix<double>& change, const Matrix<double>& gram) {
  double sum = 0;
  for (size_t r = 0; r < change.rows(); ++r) {
    const double* d = change.row(r);
    for (size_t i = 0; i < change.cols(); ++i) {
      if (d[i] == 0) continue;
      const double* g = gram.row(i);
      double product = 0.5 * g[i] * d[i];
      for (size_t j = 0; j < i; ++j) product += g[j] * d[j];
      sum += 2 * d[i] * product;
    }
  }
  return sum;
}

inline double OutputError(MatrixView<const float> weights, const PackedMatrix& packed,
                          const Matrix<double>& gram) {
  Matrix<double> change(packed.rows(), packed.cols());
  Matrix<float> decoded(1, packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.DecodeRow(r, decoded.view().row_span(0));
    for (size_t c = 0; c < packed.cols(); ++c) {
      change(r, c) = static_cast<double>(decoded(0, c)) - static_cast<double>(weights(r, c));
    }
  }
  return OutputError(change, gram);
}

// The root mean square of the difference, over that of `from`.
inline double RelativeChange(const Matrix<float>& from, const Matrix<float>& to) {
  double squares = 0, error = 0;
  for (size_t i = 0; i < from.rows() * from.cols(); ++i) {
    const double x = static_cast<double>(from.data()[i]), y = static_cast<double>(to.data()[i]);
    squares += x * x;
    error += (x - y) * (x - y);
  }
  return std::sqrt(error / squares);
}

// AWQ's knobs with few candidates, for tests that do not look at how well it searches.
inline Knobs FewCandidates() {
  Knobs few(FindTransform("awq")->knobs());
  few.Set("grid", 3);
  few.Set("clip_grid", 4);
  return few;
}

// The defaults, and each flag turned over alone.
inline std::vector<Knobs> FlagVariants(const Rounder& rounder) {
  std::vector<Knobs> all = {Knobs(rounder.knobs())};
  for (const Knob& knob : rounder.knobs()) {
    if (knob.kind != Knob::Kind::kFlag) continue;
    all.emplace_back(rounder.knobs());
    all.back().Set(knob.name, 1 - knob.otherwise);
  }
  return all;
}

}  // namespace quantref::testing
