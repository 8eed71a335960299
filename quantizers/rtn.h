#pragma once

#include "harness/method/quantizer.h"

namespace quantref {

// Round to nearest: each weight to the nearest point of its group's grid, which spans the group's
// range. No data, no search; the baseline of every paper and the rounding of harness/quant/grid.h
// as it stands.
class Rtn final : public Rounder {
 public:
  std::string_view name() const override { return "rtn"; }
  std::string_view summary() const override {
    return "round to nearest on the min-max (or absmax) grid";
  }
  Rounded Round(const RoundInput& input) const override;
};

}  // namespace quantref
