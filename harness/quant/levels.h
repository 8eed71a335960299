#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace quantref {

// Which level a number takes that lies midway between two: the lower one; the lower one, where
// midway is half their FP32 sum (bitsandbytes' tables); or the one whose code is even (OCP's and
// IEEE's floats).
enum class Midpoint { kLower, kLowerOfFp32, kEvenCode };

// The numbers that the codes of a format stand for, in units of the scale, where they are not
// evenly spaced: up to 256 of them, by code, in any order, all finite. Of codes with equal levels
// (+0 and -0) the smallest is the one that rounding gives.
class LevelTable {
 public:
  constexpr LevelTable() = default;  // no table
  constexpr LevelTable(std::span<const float> by_code, Midpoint midpoint)
      : size_(by_code.size()), midpoint_(midpoint) {
    for (size_t code = 0; code < size_; ++code) {
      by_code_[code] = by_code[code];
      codes_[code] = static_cast<uint8_t>(code);
    }
    const auto begin = codes_.begin(), end = codes_.begin() + static_cast<ptrdiff_t>(size_);
    std::sort(begin, end, [this](uint8_t a, uint8_t b) {
      return by_code_[a] < by_code_[b] || (!(by_code_[b] < by_code_[a]) && a < b);
    });
    const auto last = std::unique(
        begin, end, [this](uint8_t a, uint8_t b) { return !(by_code_[a] < by_code_[b]); });
    distinct_ = static_cast<size_t>(last - begin);
    for (size_t rank = 0; rank + 1 < distinct_; ++rank) {
      const float low = by_code_[codes_[rank]], high = by_code_[codes_[rank + 1]];
      doubled_midpoints_[rank] = midpoint == Midpoint::kLowerOfFp32
                                     ? static_cast<double>(low + high)
                                     : static_cast<double>(low) + static_cast<double>(high);
    }
    below_.fill(std::numeric_limits<float>::infinity());
    for (size_t rank = 0; few() && rank + 1 < distinct_; ++rank)
      below_[rank] = AtMost(doubled_midpoints_[rank] / 2);
  }

  constexpr bool empty() const { return size_ == 0; }
  constexpr size_t size() const { return size_; }  // codes are 0 .. size() - 1
  constexpr float operator[](size_t code) const { return by_code_[code]; }
  constexpr const float* by_code() const { return by_code_.data(); }  // size() of them

  // The distinct levels by size: rank 0 is the lowest.
  constexpr size_t distinct() const { return distinct_; }
  constexpr float Ranked(size_t rank) const { return by_code_[codes_[rank]]; }
  constexpr float Largest() const {  // magnitude
    return std::max(-Ranked(0), Ranked(distinct_ - 1));
  }

  // The code of the level nearest to x, which is decided exactly (but for kLowerOfFp32). A NaN
  // counts as the lowest.
  constexpr size_t Nearest(float x) const {
    const double doubled = 2.0 * static_cast<double>(x);
    const size_t rank = few() ? FewBelow(x) : MidpointsBelow(doubled);
    const bool midway = rank + 1 < distinct_ && doubled_midpoints_[rank] == doubled;
    const bool up = midway && midpoint_ == Midpoint::kEvenCode && codes_[rank] % 2 != 0;
    return codes_[rank + (up ? 1 : 0)];
  }

 private:
  static constexpr size_t kMost = 256, kFew = 16;

  // The largest FP32 number that is not above it.
  static constexpr float AtMost(double number) {
    const float nearest = static_cast<float>(number);
    if (static_cast<double>(nearest) <= number) return nearest;
    if (nearest == 0) return -std::numeric_limits<float>::denorm_min();
    const uint32_t bits = std::bit_cast<uint32_t>(nearest);
    return std::bit_cast<float>(nearest > 0 ? bits - 1 : bits + 1);
  }

  constexpr bool few() const { return distinct_ <= kFew; }

  // How many midpoints lie below x: all are compared, without a branch, where they are few.
  constexpr size_t FewBelow(float x) const {
    int32_t count = 0;
    for (const float midpoint : below_) count += x > midpoint ? 1 : 0;
    return static_cast<size_t>(count);
  }
  constexpr size_t MidpointsBelow(double doubled) const {
    const auto begin = doubled_midpoints_.begin();
    return static_cast<size_t>(
        std::lower_bound(begin, begin + static_cast<ptrdiff_t>(distinct_ - 1), doubled) - begin);
  }

  size_t size_ = 0, distinct_ = 0;
  Midpoint midpoint_ = Midpoint::kLower;
  std::array<float, kMost> by_code_{};
  std::array<uint8_t, kMost> codes_{};             // by rank
  std::array<double, kMost> doubled_midpoints_{};  // sums of two neighbours, exact or in FP32
  std::array<float, kFew> below_{};  // of few levels: the largest FP32 numbers up to the midpoints
};

}  // namespace quantref
