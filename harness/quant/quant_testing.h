#pragma once

#include <cstddef>
#include <initializer_list>
#include <vector>

#include "harness/quant/scheme.h"

// What the tests of rounding share. Only tests include this.

namespace quantref::testing {

// Every kind of scheme of these bits.
inline std::vector<WeightScheme> AllSchemes(std::initializer_list<int> all_bits, size_t group) {
  std::vector<WeightScheme> schemes;
  for (const int bits : all_bits) {
    for (Granularity granularity :
         {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
      for (bool symmetric : {false, true}) {
        for (bool knob : {false, true}) {
          WeightScheme scheme{bits, granularity, group, symmetric};
          (symmetric ? scheme.full_range : scheme.zero_in_range) = knob;
          schemes.push_back(scheme);
        }
      }
    }
  }
  return schemes;
}

}  // namespace quantref::testing
