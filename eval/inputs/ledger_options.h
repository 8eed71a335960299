#pragma once

#include <cstddef>
#include <string>

namespace quantref {

// On which text blocks and kinds of matrices are looked at one by one.
inline constexpr char kLedgerCalibration[] = "calibration", kLedgerTest[] = "test";
inline constexpr size_t kLedgerWindows = 16;  // as many as bootstrap intervals need

// Of the command line: whether a run says where a cell's change comes from.
struct LedgerOptions {
  bool asked = false;
  std::string text = kLedgerCalibration;
  size_t windows = kLedgerWindows;  // of that text; 0: by steps alone, without blocks and kinds

  // "calibration 16": what a record's ledger must be of to be this one; "" where none is asked for.
  std::string Name() const {
    if (!asked) return "";
    return windows == 0 ? "steps" : text + " " + std::to_string(windows);
  }
  bool operator==(const LedgerOptions&) const = default;
};

}  // namespace quantref
