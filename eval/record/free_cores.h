#pragma once

#include <cmath>
#include <cstddef>

namespace quantref {

// What two pinned loops got of two cores before and after a timing; 2 where each had one of its
// own.
struct FreeCores {
  double before = 0, after = 0;
  bool Two() const { return before >= 1.8 && after >= 1.8; }
};

// Whether figures on so many threads may be those of something else's load: several threads
// without a core each, or cores that came or went while the run measured.
inline bool Busy(const FreeCores& cores, size_t threads) {
  constexpr double kMostDrift = 0.1;
  if (threads >= 2 && !cores.Two()) return true;
  return std::abs(cores.after - cores.before) > kMostDrift * cores.before;
}

}  // namespace quantref
