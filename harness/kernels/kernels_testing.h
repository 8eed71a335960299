#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "harness/base/rng.h"
#include "harness/kernels/isa.h"

// What the tests of the kernels share. Only tests include this.

namespace quantref::testing {

// An array whose end is the end of a page that no access may cross: touching one element too many
// ends the test.
template <typename T>
class GuardedArray {
 public:
  explicit GuardedArray(size_t size) : size_(size) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t usable = (size * sizeof(T) + page - 1) / page * page;
    mapped_ = usable + page;
    base_ = static_cast<std::byte*>(
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(base_ != MAP_FAILED);
    REQUIRE(mprotect(base_ + usable, page, PROT_NONE) == 0);
    data_ = reinterpret_cast<T*>(base_ + usable) - size;
  }
  explicit GuardedArray(std::span<const T> values) : GuardedArray(values.size()) {
    if (!values.empty()) std::memcpy(data_, values.data(), values.size_bytes());
  }
  explicit GuardedArray(const std::vector<T>& values) : GuardedArray(std::span<const T>(values)) {}
  ~GuardedArray() { munmap(base_, mapped_); }
  GuardedArray(const GuardedArray&) = delete;
  GuardedArray& operator=(const GuardedArray&) = delete;

  T* data() { return data_; }
  std::vector<T> Values() const { return std::vector<T>(data_, data_ + size_); }

 private:
  size_t size_, mapped_;
  std::byte* base_;
  T* data_;
};

// 1..17 and the neighbours of the powers of two up to 1025.
inline std::vector<size_t> NastySizes() {
  std::vector<size_t> sizes;
  for (size_t n = 1; n <= 17; ++n) sizes.push_back(n);
  for (size_t power = 32; power <= 1024; power *= 2) {
    for (size_t n : {power - 1, power, power + 1}) sizes.push_back(n);
  }
  return sizes;
}

inline std::vector<Isa> AvailableIsas() {
  std::vector<Isa> isas;
  for (Isa isa : KnownIsas()) {
    if (CpuHas(isa)) isas.push_back(isa);
  }
  return isas;
}

inline std::vector<float> NormalFloats(size_t n, double deviation, Rng& rng) {
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(deviation * rng.Normal());
  return values;
}

// Elementwise equality of the bits: tells -0 from 0, and a NaN equals itself.
inline bool SameBits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}
inline bool SameBits(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

}  // namespace quantref::testing
