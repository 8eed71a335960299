#include "harness/quant/float8.h"

namespace quantref {

const LevelTable& E4m3Levels() {
  static constexpr LevelTable kLevels(kE4m3Numbers, Midpoint::kEvenCode);
  return kLevels;
}

}  // namespace quantref
