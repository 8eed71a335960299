#include "harness/formats/affine_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "harness/base/error.h"
#include "harness/formats/decoded_rows.h"
#include "harness/quant/affine.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {
namespace {

// Scales and zeros, row-major by ShapeOfScales.
struct Factors {
  ScaleShape shape;
  std::vector<float> scales;
  std::vector<int> zeros;
};

Factors ReadFactors(const AffineSource& source) {
  Factors factors{ShapeOfScales(source.rows, source.cols, source.scheme), {}, {}};
  const int middle = 1 << (source.scheme.bits - 1);
  for (size_t r = 0; r < factors.shape.rows; ++r) {
    for (size_t g = 0; g < factors.shape.cols; ++g) {
      factors.scales.push_back(source.scale(r, g));
      factors.zeros.push_back(source.zero ? source.zero(r, g) : middle);
    }
  }
  return factors;
}

void RequireFiniteScales(const AffineSource& source, std::span<const float> scales,
                         const std::string& where) {
  const auto finite = [](float scale) { return std::isfinite(scale); };
  const auto bad = std::ranges::find_if_not(scales, finite);
  if (bad == scales.end()) return;
  const size_t good = static_cast<size_t>(std::ranges::count_if(scales, finite));
  throw Error(fmt::format("tensor {}: expected finite scales, found {} and {} more of {}",
                          source.scales_name, *bad, scales.size() - good - 1, scales.size()),
              where, kDamagedFile);
}

// Whether every scale is an FP16 number times 2^exponent, >= 0.
bool HoldsScales(std::span<const float> scales, int exponent) {
  return std::ranges::all_of(scales, [&](float scale) {
    return !std::signbit(scale) && scale <= LargestScale(ScaleType::kFp16, {exponent}) &&
           RoundScale(scale, ScaleType::kFp16, {exponent}) == scale;
  });
}

// The exponent of a PackedMatrix with these scales; nothing where none holds them.
std::optional<int> ExponentFor(const AffineSource& source, std::span<const float> scales) {
  int exponent = 0;
  if (!source.fp16_scales) {
    try {
      exponent = ChooseExponent(scales, ScaleType::kFp16);
    } catch (const Error&) {  // all are too small
      return std::nullopt;
    }
  }
  return HoldsScales(scales, exponent) ? std::optional(exponent) : std::nullopt;
}

// The inputs by group; nothing where a group has another number of them than the scheme gives it.
std::optional<std::vector<uint32_t>> OrderOf(const AffineSource& source, const ScaleShape& shape) {
  if (source.group_of.empty()) return std::vector<uint32_t>{};
  std::vector<uint32_t> order(source.cols);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](uint32_t c) { return source.group_of[c]; });
  for (size_t p = 0; p < order.size(); ++p) {
    if (source.group_of[order[p]] != shape.ColOf(p)) return std::nullopt;
  }
  return order;
}

std::shared_ptr<const PackedMatrix> Pack(const AffineSource& source, const WeightScheme& scheme,
                                         const Factors& factors, int exponent,
                                         std::vector<uint32_t> order) {
  const auto packed = std::make_shared<PackedMatrix>(source.rows, source.cols, scheme);
  packed->set_exponent(exponent);
  for (size_t i = 0; i < factors.scales.size(); ++i) {
    packed->set_affine(i / factors.shape.cols, i % factors.shape.cols,
                       {factors.scales[i], factors.zeros[i]});
  }
  std::vector<uint8_t> by_input(source.cols), by_position(source.cols);
  for (size_t r = 0; r < source.rows; ++r) {
    source.codes(r, by_input);
    for (size_t p = 0; p < by_position.size(); ++p)
      by_position[p] = by_input[order.empty() ? p : order[p]];
    packed->SetCodes(r, by_position);
  }
  packed->set_order(std::move(order));
  return packed;
}

Weight DecodeByRows(const AffineSource& source, Factors factors) {
  const std::string form = fmt::format("{} {}", source.tool, HashedForm(source.scheme));
  const auto decode = [source, factors = std::move(factors)](size_t row, std::span<float> values) {
    std::vector<uint8_t> codes(source.cols);
    source.codes(row, codes);
    for (size_t c = 0; c < source.cols; ++c) {
      const size_t group =
          source.group_of.empty() ? factors.shape.ColOf(c) : size_t{source.group_of[c]};
      const size_t i = factors.shape.RowOf(row) * factors.shape.cols + group;
      values[c] = Decode(codes[c], {factors.scales[i], factors.zeros[i]});
    }
  };
  return Weight(
      std::make_shared<const DecodedRows>(form, source.rows, source.cols, source.stored, decode));
}

}  // namespace

WeightScheme IntScheme(const std::string& matrix, int bits, std::optional<size_t> group,
                       bool symmetric, const ForeignFolder& folder, bool zero_in_range) {
  WeightScheme scheme;
  scheme.bits = bits;
  scheme.granularity = group ? Granularity::kGroup : Granularity::kRow;
  if (group) scheme.group = *group;
  scheme.symmetric = symmetric;
  scheme.full_range = symmetric && folder.full_range.Of(matrix, true);
  scheme.zero_in_range = symmetric || folder.zero_in_range.Of(matrix, zero_in_range);
  return scheme;
}

std::vector<uint32_t> ReadGroupIndex(const MatrixTensors& tensors, const Tensor& tensor,
                                     std::string_view part, size_t group, size_t groups) {
  const std::span<const int32_t> stored = ElementsOf<int32_t>(tensor);
  std::vector<uint32_t> group_of;
  bool consecutive = true;
  for (size_t i = 0; i < stored.size(); ++i) {
    if (stored[i] < 0 || static_cast<size_t>(stored[i]) >= groups) {
      tensors.Fail(part, fmt::format("groups from 0 to {}", groups - 1),
                   fmt::format("{} for input {}", stored[i], i));
    }
    group_of.push_back(static_cast<uint32_t>(stored[i]));
    consecutive = consecutive && group_of[i] == i / group;
  }
  std::vector<bool> seen(groups);
  for (const uint32_t g : group_of) seen[g] = true;
  const auto missing = std::ranges::find(seen, false);
  if (missing != seen.end()) {
    tensors.Fail(part, fmt::format("inputs in all of {} groups", groups),
                 fmt::format("none in group {}", missing - seen.begin()));
  }
  return consecutive ? std::vector<uint32_t>{} : group_of;
}

Weight ReadAffine(const AffineSource& source, const std::string& where,
                  std::vector<CountedNote>& notes) {
  Factors factors = ReadFactors(source);
  RequireFiniteScales(source, factors.scales, where);
  WeightScheme scheme = source.scheme;
  const int middle = 1 << (scheme.bits - 1), codes = 1 << scheme.bits;
  const size_t off_middle = static_cast<size_t>(
      std::ranges::count_if(factors.zeros, [&](int zero) { return zero != middle; }));
  if (scheme.symmetric && off_middle > 0) {
    scheme.symmetric = scheme.full_range = false;
    AddNote(notes, "zero points off the middle, although the checkpoint says that it is symmetric",
            off_middle, "groups", NoteGrade::kDoubt);
  }
  const bool zeros_fit =
      std::ranges::all_of(factors.zeros, [&](int zero) { return zero >= 0 && zero < codes; });
  std::optional<std::vector<uint32_t>> order = OrderOf(source, factors.shape);
  const std::optional<int> exponent = ExponentFor(source, factors.scales);
  if (zeros_fit && order && exponent) {
    return Weight(Pack(source, scheme, factors, *exponent, std::move(*order)));
  }
  NoteDecoded(notes);
  CountOddScales(factors.scales, notes);
  return DecodeByRows(source, std::move(factors));
}

Weight AffineRows(const AffineSource& source) { return DecodeByRows(source, ReadFactors(source)); }

}  // namespace quantref
