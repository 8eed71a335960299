#pragma once

#include <cstddef>
#include <cstdint>

#include "harness/kernels/codebook_kernels.h"
#include "harness/kernels/qgemm_kernels.h"
#include "harness/quant/format.h"
#include "harness/quant/levels.h"
#include "harness/quant/scheme.h"

namespace quantref {

// How a format's codes lie in the kernels' panels, and what they are to the kernels.

// Sixteen levels as whole numbers: level = unit * (look_up - zero).
struct WholeLevels {
  float unit = 0;  // a power of two; 0: they are none that can be looked up
  uint8_t look_up[kLevels] = {}, zero = 0;
};
WholeLevels WholeLevelsOf(const LevelTable& levels);

// 0, 1 and -1 as signed numbers of two bits: with the sign's bit turned round they are evenly
// spaced, from 1 to 3 with the zero point 2.
inline constexpr uint8_t kSignBit = 2;
bool IsTernary(const NumberFormat& format);
bool IsEvenlySpaced(const NumberFormat& format);  // ternary codes, too

// What codes of a scheme that the kernels take are to them. Levels that are whole numbers times a
// power of two, none more than kMostLooked from another, are looked up for integer products, as
// long as groups are whole blocks; else they are a codebook.
CodeForm FormOf(const WeightScheme& scheme);

// Everything but the panels themselves, of a scheme that the kernels take.
QgemmWeights PanelLayout(size_t rows, size_t cols, const WeightScheme& scheme);
size_t PanelBytes(const QgemmWeights& w);  // of all panels

}  // namespace quantref
