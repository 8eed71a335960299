#include "eval/stats/normal.h"

#include <cmath>
#include <numbers>

#include "harness/base/check.h"

namespace quantref {

double NormalBelow(double z) { return std::erfc(-z / std::numbers::sqrt2) / 2; }

// By bisection, until no number lies between the ends.
double NormalQuantile(double share) {
  QR_CHECK(share > 0 && share < 1);
  double low = -40, high = 40;
  while (true) {
    const double middle = (low + high) / 2;
    if (middle <= low || middle >= high) return middle;
    (NormalBelow(middle) < share ? low : high) = middle;
  }
}

double NormalWithin(double z) { return std::erf(z / std::numbers::sqrt2); }

}  // namespace quantref
