#include "harness/formats/table_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/formats/decoded_rows.h"
#include "harness/kernels/dequantize.h"
#include "harness/quant/float8.h"
#include "harness/quant/format.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {
namespace {

size_t Blocks(size_t size, size_t each) { return (size + each - 1) / each; }

// The scheme that has these blocks.
std::optional<WeightScheme> Float8Scheme(const Float8Source& source) {
  WeightScheme scheme = SchemeOf(*FindFormat("fp8_e4m3"));
  if (source.cols_each >= source.cols) {
    const bool tensor = source.rows_each >= source.rows && source.rows > 1;
    if (!tensor && source.rows_each != 1) return std::nullopt;
    scheme.granularity = tensor ? Granularity::kTensor : Granularity::kRow;
    return scheme;
  }
  if (source.rows_each != 1) return std::nullopt;
  scheme.granularity = Granularity::kGroup;
  scheme.group = source.cols_each;
  return scheme;
}

std::vector<float> ReadFloat8Scales(const Float8Source& source, const std::string& where) {
  std::vector<float> scales;
  const size_t count =
      Blocks(source.rows, source.rows_each) * Blocks(source.cols, source.cols_each);
  for (size_t i = 0; i < count; ++i) scales.push_back(NumberAt(*source.scales, i));
  for (const float scale : scales) {
    if (std::isfinite(scale)) continue;
    throw Error(
        fmt::format("tensor {}: expected finite scales, found {}", source.scales->name, scale),
        where, kDamagedFile);
  }
  return scales;
}

std::span<const uint8_t> BytesIn(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

std::vector<uint8_t> Float8Codes(const Float8Source& source, const std::string& where) {
  const std::span<const uint8_t> codes = ElementsOf<uint8_t>(*source.codes);
  const size_t nans = static_cast<size_t>(std::ranges::count_if(codes, IsE4m3Nan));
  if (nans > 0) {
    throw Error(fmt::format("tensor {}: expected finite numbers, found {} that are none",
                            source.codes->name, nans),
                where, kDamagedFile);
  }
  return {codes.begin(), codes.end()};
}

// "fp8_e4m3 row", "fp8_e4m3 block 128x128"
std::string Float8Form(const Float8Source& source) {
  if (const std::optional<WeightScheme> scheme = Float8Scheme(source)) return HashedForm(*scheme);
  return fmt::format("fp8_e4m3 block {}x{}", source.rows_each, source.cols_each);
}

Weight DecodeFloat8(const Float8Source& source, std::vector<float> scales) {
  const size_t across = Blocks(source.cols, source.cols_each);
  const auto decode = [source, across, scales = std::move(scales)](size_t row,
                                                                   std::span<float> values) {
    const uint8_t* const codes = ElementsOf<uint8_t>(*source.codes).data() + row * source.cols;
    const float* const of_row = &scales[row / source.rows_each * across];
    for (size_t c = 0; c < values.size(); ++c)
      values[c] = of_row[c / source.cols_each] * kE4m3Numbers[codes[c]];
  };
  return Weight(std::make_shared<const DecodedRows>(
      source.tool + " " + Float8Form(source), source.rows, source.cols, source.stored, decode));
}

// All of them. Throws Error where one is not finite.
std::vector<float> TableScales(const TableSource& source, const std::string& where) {
  const ScaleType type = source.scheme.scale_type();
  const size_t each = ScaleBytes(type);
  std::vector<float> scales;
  for (size_t i = 0; i < source.scales.size() / each; ++i)
    scales.push_back(LoadScale(&source.scales[i * each], type, source.frame.UnitOf(i)));
  // The table has a number for each code; two of E4M3's are none.
  const bool nan = type == ScaleType::kE4m3 && std::ranges::any_of(source.scales, IsE4m3Nan);
  if (nan || !std::ranges::all_of(scales, [](float scale) { return std::isfinite(scale); })) {
    throw Error(fmt::format("tensor {}: expected finite scales, found others", source.scales_name),
                where, kDamagedFile);
  }
  return scales;
}

// The scales without their signs, which FP32 and E4M3 have in the upper bit of the last byte.
std::vector<uint8_t> Magnitudes(const TableSource& source) {
  const size_t each = ScaleBytes(source.scheme.scale_type());
  std::vector<uint8_t> bytes = source.scales;
  for (size_t last = each - 1; last < bytes.size(); last += each) bytes[last] &= 0x7f;
  return bytes;
}

// `packed`: with the scales' magnitudes.
Weight DecodeSigned(const TableSource& source, std::shared_ptr<const PackedMatrix> packed,
                    const std::vector<float>& scales) {
  std::vector<bool> negative;
  for (const float scale : scales) negative.push_back(scale < 0);
  const auto decode = [packed = std::move(packed), negative = std::move(negative)](
                          size_t row, std::span<float> values) {
    DecodeRows(*packed, row, {values.data(), 1, values.size()});
    const ScaleShape& shape = packed->scales();
    for (size_t group = 0; group < shape.cols; ++group) {
      if (!negative[shape.RowOf(row) * shape.cols + group]) continue;
      for (float& value : values.subspan(shape.Begin(group), shape.Size(group))) value = -value;
    }
  };
  return Weight(std::make_shared<const DecodedRows>(
      HashedForm(source.scheme) + " signed", source.rows, source.cols, source.stored, decode));
}

}  // namespace

Weight ReadTable(const TableSource& source, const std::string& where,
                 std::vector<CountedNote>& notes) {
  const auto packed = std::make_shared<PackedMatrix>(source.rows, source.cols, source.scheme);
  packed->set_frame(source.frame);
  const std::vector<float> scales = TableScales(source, where);
  const std::span<const uint8_t> stored = BytesIn(source.codes);
  std::vector<uint8_t> codes(stored.begin(), stored.end());
  if (source.swapped) {
    for (uint8_t& pair : codes) pair = static_cast<uint8_t>(pair >> 4 | pair << 4);
  }
  if (packed->SetStored(codes, source.scales, {})) return Weight(packed);
  QR_CHECK(packed->SetStored(codes, Magnitudes(source), {}));
  NoteDecoded(notes);
  CountOddScales(scales, notes);
  return DecodeSigned(source, packed, scales);
}

std::string Float8Name(const Float8Source& source) {
  if (const std::optional<WeightScheme> scheme = Float8Scheme(source)) return SchemeName(*scheme);
  return fmt::format("fp8_e4m3 block {}x{}", source.rows_each, source.cols_each);
}

StoredCodes CodesOf(const Float8Source& source) {
  if (const std::optional<WeightScheme> scheme = Float8Scheme(source)) return *scheme;
  return BlockScheme{.format = "fp8_e4m3", .bits = 8, .granularity = "block"};
}

Weight ReadFloat8(const Float8Source& source, const std::string& where,
                  std::vector<CountedNote>& notes) {
  std::vector<float> scales = ReadFloat8Scales(source, where);
  const std::vector<uint8_t> codes = Float8Codes(source, where);
  const std::optional<WeightScheme> scheme = Float8Scheme(source);
  const bool negative = std::ranges::any_of(scales, [](float s) { return std::signbit(s); });
  if (!scheme || negative) {
    if (scheme) NoteDecoded(notes);
    CountOddScales(scales, notes);
    return DecodeFloat8(source, std::move(scales));
  }
  const auto packed = std::make_shared<PackedMatrix>(source.rows, source.cols, *scheme);
  std::vector<uint8_t> bytes(scales.size() * sizeof(float));
  std::memcpy(bytes.data(), scales.data(), bytes.size());
  QR_CHECK(packed->SetStored(codes, bytes, {}));
  return Weight(packed);
}

}  // namespace quantref
