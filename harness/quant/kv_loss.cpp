#include "harness/quant/kv_loss.h"

#include <algorithm>
#include <cmath>

#include "harness/base/half.h"

namespace quantref {

void KvLoss::Add(const KvScheme& scheme, const KvGrid& grid, float lo, float hi) {
  const auto add = [&](double extreme, double stored) {
    error += (stored - extreme) * (stored - extreme);
    squares += extreme * extreme;
  };
  const double scale = HalfToFloat(grid.scale), minimum = HalfToFloat(grid.minimum);
  if (scheme.symmetric) return add(std::max(std::fabs(lo), std::fabs(hi)), scale * scheme.Limit());
  add(lo, minimum);
  add(hi, minimum + scale * scheme.Levels());
}

void KvLoss::Add(const KvLoss& other) {
  error += other.error;
  squares += other.squares;
}

double KvLoss::Relative() const { return squares > 0 ? std::sqrt(error / squares) : 0; }

}  // namespace quantref
