#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "harness/io/binary.h"
#include "harness/quant/scale.h"
#include "harness/train/trainer.h"

namespace quantref {
namespace {

std::span<const float> NumbersOf(const Matrix<float>& matrix) {
  return {matrix.data(), matrix.rows() * matrix.cols()};
}

bool TakeNumbersOf(std::string_view& bytes, Matrix<float>& matrix) {
  std::vector<float> numbers;
  if (!TakeList(bytes, numbers) || numbers.size() != matrix.rows() * matrix.cols()) return false;
  std::copy(numbers.begin(), numbers.end(), matrix.data());
  return true;
}

bool TakeZeros(std::string_view& bytes, const WeightScheme* scheme, LearnedScales& scales) {
  std::vector<int> zeros;
  int32_t exponent = 0;
  if (!TakeList(bytes, zeros) || !Take(bytes, exponent)) return false;
  if (zeros.size() != scales.zeros.size() || std::abs(exponent) > kMostExponent) return false;
  const int most = scheme == nullptr ? 0 : 1 << scheme->bits;
  for (const int zero : zeros)
    if (zero < 0 || zero >= most) return false;
  scales.zeros = std::move(zeros);
  scales.exponent = exponent;
  return true;
}

}  // namespace

void Trainer::WriteState(const ByteSink& sink) const {
  std::string bytes;
  Put(bytes, uint64_t{steps_done_});
  Put(bytes, uint64_t{parameters_.size()});
  sink(bytes);
  for (const Parameter* parameter : parameters_) {
    bytes.clear();
    PutList(bytes, parameter->name);
    for (const Matrix<float>* matrix : {&parameter->value, &parameter->mean, &parameter->square})
      PutList(bytes, NumbersOf(*matrix));
    sink(bytes);
  }
  if (spec_.scales != TrainedScales::kLearned) return;
  bytes.clear();
  for (const Block& block : blocks_) {
    for (const LearnedScales& scales : block.scales) {
      PutList(bytes, scales.zeros);
      Put(bytes, int32_t{scales.exponent});
    }
  }
  sink(bytes);
}

bool Trainer::ReadState(std::string_view bytes) {
  uint64_t steps = 0, count = 0;
  if (!Take(bytes, steps) || !Take(bytes, count) || steps > spec_.steps ||
      count != parameters_.size())
    return false;
  for (Parameter* parameter : parameters_) {
    std::string name;
    if (!TakeList(bytes, name) || name != parameter->name) return false;
    for (Matrix<float>* matrix : {&parameter->value, &parameter->mean, &parameter->square})
      if (!TakeNumbersOf(bytes, *matrix)) return false;
  }
  for (Block& block : blocks_) {
    if (spec_.scales != TrainedScales::kLearned) break;
    for (size_t i = 0; i < kLinears; ++i)
      if (!TakeZeros(bytes, block.schemes[i], block.scales[i])) return false;
  }
  steps_done_ = steps;
  return bytes.empty();
}

}  // namespace quantref
