#include "harness/model/adapter.h"

#include <algorithm>
#include <cmath>

#include "harness/base/check.h"
#include "harness/kernels/gemm.h"

namespace quantref {
namespace {

constexpr size_t kScaleBits = 32;

// The power of two at or below the largest magnitude; of a matrix of zeros 0.
int ExponentOf(MatrixView<const float> values) {
  float largest = 0;
  for (size_t r = 0; r < values.rows(); ++r) {
    for (const float value : values.row_span(r)) largest = std::max(largest, std::fabs(value));
  }
  return largest > 0 && std::isfinite(largest) ? std::ilogb(largest) : 0;
}

Matrix<float> OverPowerOfTwo(MatrixView<const float> values, int exponent) {
  Matrix<float> scaled(values.rows(), values.cols());
  for (size_t r = 0; r < values.rows(); ++r) {
    for (size_t c = 0; c < values.cols(); ++c) scaled(r, c) = std::ldexp(values(r, c), -exponent);
  }
  return scaled;
}

}  // namespace

size_t Adapter::StorageBits() const {
  return down.weight.StorageBits() + up.weight.StorageBits() + kScaleBits;
}

size_t AdapterBits(const Linear& linear) {
  return linear.adapter != nullptr ? linear.adapter->StorageBits() : 0;
}

std::shared_ptr<const Adapter> MakeAdapter(const std::string& name, MatrixView<const float> a,
                                           MatrixView<const float> b, float scale) {
  QR_CHECK_EQ(a.rows(), b.cols());
  const int exponent = ExponentOf(b);
  const Matrix<float> relative = OverPowerOfTwo(b, exponent);
  auto adapter = std::make_shared<Adapter>();
  adapter->down.name = name + ".lora_A";
  adapter->down.weight = Weight::RoundedToHalf(a, adapter->down.name);
  adapter->up.name = name + ".lora_B";
  adapter->up.weight = Weight::RoundedToHalf(relative.view(), adapter->up.name);
  adapter->scale = std::ldexp(scale, exponent);
  return adapter;
}

void AddLowRank(MatrixView<const float> b, MatrixView<const float> a, float scale,
                MatrixView<float> values) {
  Matrix<float> scaled(b.rows(), b.cols());
  for (size_t r = 0; r < b.rows(); ++r) {
    for (size_t c = 0; c < b.cols(); ++c) scaled(r, c) = scale * b(r, c);
  }
  Multiply(scaled.view(), a, values, true);
}

}  // namespace quantref
