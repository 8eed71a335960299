#include "harness/quant/dynamic_map.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace quantref {
namespace {

constexpr size_t kDecades = 7;
constexpr float kDecade[kDecades] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1};

// torch.linspace(0.1, 1, steps + 1), in FP32: a step's product and sum are rounded once, which the
// double's arithmetic is exact for.
constexpr float Boundary(size_t i, size_t steps) {
  constexpr float kBegin = 0.1f, kEnd = 1;
  const float step = (kEnd - kBegin) / static_cast<float>(steps);
  const auto along = [&](float from, double count) {
    return static_cast<float>(static_cast<double>(from) + static_cast<double>(step) * count);
  };
  return i < (steps + 1) / 2 ? along(kBegin, static_cast<double>(i))
                             : along(kEnd, -static_cast<double>(steps - i));
}

// Decade d, (10^(d-7), 10^(d-6)], is cut into 2^d equal parts, whose middles are the numbers.
constexpr std::array<float, 256> Numbers() {
  std::array<float, 256> numbers{};
  size_t count = 0;
  for (size_t decade = 0; decade < kDecades; ++decade) {
    const size_t parts = size_t{1} << decade;
    for (size_t part = 0; part < parts; ++part) {
      const float middle = (Boundary(part, parts) + Boundary(part + 1, parts)) / 2;
      const float number = kDecade[decade] * middle;
      numbers[count++] = number;
      numbers[count++] = -number;
    }
  }
  numbers[count++] = 0;
  numbers[count++] = 1;
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace

const LevelTable& DynamicMap() {
  static constexpr std::array<float, 256> kNumbers = Numbers();
  static constexpr LevelTable kMap(kNumbers, Midpoint::kLowerOfFp32);
  return kMap;
}

}  // namespace quantref
