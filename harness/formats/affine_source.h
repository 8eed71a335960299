#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/formats/foreign_folder.h"
#include "harness/formats/matrix_tensors.h"
#include "harness/quant/scheme.h"

namespace quantref {

inline constexpr uint64_t kMostGroupInputs = 1 << 20;  // that settings may give a group

// A matrix of scale * (code - zero), in whichever layout a tool keeps the three.
struct AffineSource {
  std::string tool;  // in hashes: "gptq v1"
  size_t rows = 0, cols = 0;
  // Of `int`: bits, the reach of a scale, and whether it claims to be symmetric, which it is if all
  // zeros are 2^(bits-1) indeed; else it is asymmetric.
  WeightScheme scheme{};
  std::vector<uint32_t> group_of;  // of each input; empty: one group after the other
  std::string scales_name;         // of their tensor, for errors
  bool fp16_scales = false;        // whether that is what their tensor holds

  std::function<void(size_t row, std::span<uint8_t> codes)> codes;  // by input
  // By the rows and columns of ShapeOfScales. zero: none where there are none; it may lie
  // beyond the codes.
  std::function<float(size_t row, size_t group)> scale;
  std::function<int(size_t row, size_t group)> zero;

  std::vector<std::span<const std::byte>> stored;  // of all that it is stored in
};

// The scheme of one scale for so many inputs of the matrix, of a whole row where `group` is none.
WeightScheme IntScheme(const std::string& matrix, int bits, std::optional<size_t> group,
                       bool symmetric, const ForeignFolder& folder, bool zero_in_range);

// The groups of inputs that a g_idx tensor (I32, one an input) names, checked to lie below
// `groups` and to leave none empty; nothing where they follow one another.
std::vector<uint32_t> ReadGroupIndex(const MatrixTensors& tensors, const Tensor& tensor,
                                     std::string_view part, size_t group, size_t groups);

// A PackedMatrix wherever it holds the matrix bit for bit, with inputs sorted by group (and by
// number within one) where groups are not consecutive; else, where scales are no FP16 numbers times
// a power of two or are negative, zeros beyond the codes, or groups of other sizes than they should
// have, rows that decode. Throws Error where a scale is not finite.
Weight ReadAffine(const AffineSource& source, const std::string& where,
                  std::vector<CountedNote>& notes);

// Rows that decode, whatever its scales and zeros are: for a look at a few.
Weight AffineRows(const AffineSource& source);

}  // namespace quantref
