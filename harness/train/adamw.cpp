#include "harness/train/adamw.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "harness/base/check.h"

namespace quantref {
namespace {

constexpr size_t kElementsAtATime = size_t{1} << 15;

// Elements [first, first + count) of a parameter.
struct ParameterPiece {
  Parameter* parameter;
  size_t first, count;
};

std::vector<ParameterPiece> PiecesOf(std::span<Parameter* const> parameters) {
  std::vector<ParameterPiece> pieces;
  for (Parameter* parameter : parameters) {
    const size_t size = parameter->value.rows() * parameter->value.cols();
    for (size_t first = 0; first < size; first += kElementsAtATime)
      pieces.push_back({parameter, first, std::min(kElementsAtATime, size - first)});
  }
  return pieces;
}

Matrix<float> ZeroMatrix(size_t rows, size_t cols) {
  Matrix<float> matrix(rows, cols);
  std::fill_n(matrix.data(), rows * cols, 0.0f);
  return matrix;
}

// What a step does to every element.
struct StepFactors {
  float keep, clip, to_mean, beta2, to_square, rate, root_factor, epsilon;
};

void StepPiece(const StepFactors& factors, const ParameterPiece& piece) {
  float* const value = piece.parameter->value.data() + piece.first;
  float* const mean = piece.parameter->mean.data() + piece.first;
  float* const square = piece.parameter->square.data() + piece.first;
  const float* const gradient = piece.parameter->gradient.data() + piece.first;
  const float keep = piece.parameter->decays ? factors.keep : 1;
  for (size_t i = 0; i < piece.count; ++i) {
    const float g = gradient[i] * factors.clip;
    mean[i] += factors.to_mean * (g - mean[i]);
    square[i] = factors.beta2 * square[i] + factors.to_square * g * g;
    const float root = std::sqrt(square[i]) * factors.root_factor + factors.epsilon;
    value[i] = value[i] * keep - factors.rate * mean[i] / root;
  }
}

}  // namespace

Parameter MakeParameter(std::string name, MatrixView<const float> values, bool decays) {
  const size_t rows = values.rows(), cols = values.cols();
  Parameter parameter{std::move(name),           decays,
                      Matrix<float>(rows, cols), ZeroMatrix(rows, cols),
                      ZeroMatrix(rows, cols),    ZeroMatrix(rows, cols)};
  for (size_t r = 0; r < rows; ++r) std::copy_n(values.row(r), cols, parameter.value.row(r));
  return parameter;
}

Parameter MakeParameter(std::string name, std::span<const float> values) {
  return MakeParameter(std::move(name), MatrixView<const float>(values.data(), 1, values.size()),
                       false);
}

double GradientNorm(std::span<Parameter* const> parameters, Team* team) {
  const std::vector<ParameterPiece> pieces = PiecesOf(parameters);
  std::vector<double> squares(pieces.size());
  RunOn(team, pieces.size(), [&](size_t i, size_t) {
    const float* const gradient = pieces[i].parameter->gradient.data() + pieces[i].first;
    double sum = 0;
    for (size_t at = 0; at < pieces[i].count; ++at)
      sum += static_cast<double>(gradient[at]) * static_cast<double>(gradient[at]);
    squares[i] = sum;
  });
  return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
}

double AdamWStep(const AdamWSettings& settings, double rate, size_t step,
                 std::span<Parameter* const> parameters, Team* team) {
  QR_CHECK(step > 0);
  constexpr double kTiny = 1e-6;  // PyTorch's
  const double norm = GradientNorm(parameters, team);
  const double clip = settings.clip > 0 ? std::min(1.0, settings.clip / (norm + kTiny)) : 1.0;
  const auto left = [&](double beta) { return 1 - std::pow(beta, static_cast<double>(step)); };
  const StepFactors factors = {
      .keep = static_cast<float>(1 - rate * settings.decay),
      .clip = static_cast<float>(clip),
      .to_mean = static_cast<float>(1 - settings.beta1),
      .beta2 = static_cast<float>(settings.beta2),
      .to_square = static_cast<float>(1 - settings.beta2),
      .rate = static_cast<float>(rate / left(settings.beta1)),
      .root_factor = static_cast<float>(1 / std::sqrt(left(settings.beta2))),
      .epsilon = static_cast<float>(settings.epsilon)};
  const std::vector<ParameterPiece> pieces = PiecesOf(parameters);
  RunOn(team, pieces.size(), [&](size_t i, size_t) { StepPiece(factors, pieces[i]); });
  return norm;
}

double RateShare(size_t step, size_t steps, size_t warmup) {
  if (step <= warmup) return static_cast<double>(step) / static_cast<double>(warmup);
  const double done = static_cast<double>(step - 1 - warmup) / static_cast<double>(steps - warmup);
  return (1 + std::cos(std::numbers::pi * done)) / 2;
}

}  // namespace quantref
