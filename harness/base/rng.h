#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace quantref {

// xoshiro256** (Blackman and Vigna 2018) seeded by splitmix64, so that a seed means the same
// numbers on every machine and with every standard library, which std's distributions do not
// promise.
class Rng {
 public:
  explicit Rng(uint64_t seed);

  uint64_t Next();                 // uniform over all 64-bit values
  uint64_t Below(uint64_t limit);  // uniform over [0, limit), unbiased; limit > 0
  double Uniform();                // uniform over [0, 1), 53 bits
  double Normal();                 // mean 0, variance 1 (Marsaglia's polar method)

 private:
  uint64_t state_[4];
};

// Fisher-Yates; every order equally likely.
template <typename T>
void Shuffle(std::span<T> items, Rng& rng) {
  for (size_t i = items.size(); i > 1; --i) {
    const size_t j = rng.Below(i);
    T held = items[i - 1];
    items[i - 1] = items[j];
    items[j] = held;
  }
}

}  // namespace quantref
