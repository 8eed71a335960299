#pragma once

#include "harness/quant/kv_scheme.h"

namespace quantref {

// What storing grids as FP16 does to the extremes of their groups, added up.
struct KvLoss {
  double error = 0, squares = 0;  // sums of squares, of the differences and of the extremes

  void Add(const KvScheme& scheme, const KvGrid& grid, float lo, float hi);  // finite
  void Add(const KvLoss& other);
  double Relative() const;  // the root of their ratio
  // The most that rounding to FP16's normal numbers can make it, sqrt((3 + sqrt 5) / 2) * 2^-11
  // where a minimum is stored, times 1.24: what is beyond has met the ends of its range.
  static constexpr double kMost = 0x1p-10;
};

}  // namespace quantref
