#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/model/model_testing.h"
#include "harness/model/weights.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// One matrix in its stored form; loading whole models is weights_test.cpp's.

namespace quantref {
namespace {

constexpr size_t kRows = 21, kCols = 42;

Matrix<float> RandomWeight() { return testing::NormalMatrix(kRows, kCols, 3); }

// The matrix's numbers as a checkpoint holds them.
struct Dense {
  explicit Dense(const Matrix<float>& matrix, DType dtype)
      : bytes(testing::Stored({matrix.data(), matrix.rows() * matrix.cols()}, DTypeName(dtype))),
        tensor{"w",
               dtype,
               {matrix.rows(), matrix.cols()},
               reinterpret_cast<const std::byte*>(bytes.data()),
               bytes.size()} {}
  Dense(const Dense&) = delete;
  Dense& operator=(const Dense&) = delete;

  std::string bytes;
  Tensor tensor;
};

// Row r of the stored numbers, by the scalar definitions.
std::vector<float> RowOf(const Dense& dense, size_t r) {
  std::vector<float> values(kCols);
  const char* from = dense.bytes.data() + r * kCols * DTypeBytes(dense.tensor.dtype);
  for (size_t c = 0; c < kCols; ++c) {
    uint16_t bits;
    if (dense.tensor.dtype == DType::kF32) {
      std::memcpy(&values[c], from + c * 4, 4);
    } else {
      std::memcpy(&bits, from + c * 2, 2);
      values[c] = dense.tensor.dtype == DType::kF16 ? HalfToFloat(bits) : BFloatToFloat(bits);
    }
  }
  return values;
}

// Decodes every run of rows into a wider buffer and compares it bit for bit with expected(r).
template <typename Expected>
void CheckDecodeRows(const Weight& weight, Expected expected) {
  constexpr size_t kStride = kCols + 3;
  constexpr float kUntouched = -77.0f;
  for (size_t first = 0; first < kRows; ++first) {
    for (const size_t count : {size_t{1}, size_t{2}, kRows - first}) {
      if (first + count > kRows) continue;
      std::vector<float> buffer((count + 1) * kStride, kUntouched);
      weight.DecodeRows(first, {buffer.data(), count, kCols, kStride});
      INFO("rows " << first << " to " << first + count);
      bool right = true, untouched = true;
      for (size_t r = 0; r < count; ++r) {
        const std::vector<float> row = expected(first + r);
        right &= std::memcmp(row.data(), &buffer[r * kStride], kCols * sizeof(float)) == 0;
        for (size_t c = kCols; c < kStride; ++c) untouched &= buffer[r * kStride + c] == kUntouched;
      }
      for (size_t c = 0; c < kStride; ++c) untouched &= buffer[count * kStride + c] == kUntouched;
      CHECK(right);
      CHECK(untouched);
    }
  }
}

TEST_CASE("weight: dense rows decode to the stored numbers", "[weight]") {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Dense dense(RandomWeight(), dtype);
    INFO(DTypeName(dtype));
    for (const bool half : {false, true}) {
      const Weight weight = half ? Weight(dense.tensor).InHalf("w") : Weight(dense.tensor);
      CHECK(weight.rows() == kRows);
      CHECK(weight.cols() == kCols);
      CHECK_FALSE(weight.quantized());
      CHECK(weight.packed() == nullptr);
      CheckDecodeRows(weight, [&](size_t r) {
        std::vector<float> row = RowOf(dense, r);
        if (half) {
          for (float& value : row) value = RoundToHalf(value);
        }
        return row;
      });
    }
  }
}

TEST_CASE("weight: packed rows decode as PackedMatrix::DecodeRow says", "[weight]") {
  const Matrix<float> matrix = RandomWeight();
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (const Granularity granularity :
         {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
      for (const bool symmetric : {false, true}) {
        const WeightScheme scheme{bits, granularity, 21, symmetric};
        const auto packed = std::make_shared<PackedMatrix>(RoundToNearest(matrix.view(), scheme));
        INFO(SchemeName(scheme));
        const Weight weight(packed);
        CHECK(weight.quantized());
        CHECK(weight.packed() == packed.get());
        CheckDecodeRows(weight, [&](size_t r) {
          std::vector<float> row(kCols);
          packed->DecodeRow(r, row);
          return row;
        });
      }
    }
  }
}

TEST_CASE("weight: stored bits", "[weight]") {
  const Matrix<float> matrix = RandomWeight();
  const Dense f32(matrix, DType::kF32), f16(matrix, DType::kF16), bf16(matrix, DType::kBF16);
  CHECK(Weight(f32.tensor).StorageBits() == kRows * kCols * 32);
  CHECK(Weight(f16.tensor).StorageBits() == kRows * kCols * 16);
  CHECK(Weight(bf16.tensor).StorageBits() == kRows * kCols * 16);
  for (const Dense* dense : {&f32, &f16, &bf16}) {
    CHECK(Weight(dense->tensor).InHalf("w").StorageBits() == kRows * kCols * 16);
  }
  const auto packed =
      std::make_shared<PackedMatrix>(RoundToNearest(matrix.view(), {.bits = 4, .group = 21}));
  // Two groups a row, each with an FP16 scale and a zero point of 4 bits.
  CHECK(Weight(packed).StorageBits() == kRows * (kCols * 4 + 2 * (16 + 4)));
}

TEST_CASE("weight: copies share the storage, other weights do not", "[weight]") {
  const Matrix<float> matrix = RandomWeight();
  const Dense dense(matrix, DType::kF32), other(matrix, DType::kF32);
  const auto packed = std::make_shared<PackedMatrix>(RoundToNearest(matrix.view(), {.group = 21}));
  const auto again = std::make_shared<PackedMatrix>(*packed);
  const Weight weights[] = {
      Weight(dense.tensor),
      Weight(other.tensor),
      Weight(packed),
      Weight(again),
  };
  for (const Weight& a : weights) {
    for (const Weight& b : weights) {
      const Weight copy = b;
      CHECK(a.SharesStorage(copy) == (&a == &b));
    }
  }
}

// The matrix's row r, changed number by number.
template <typename Change>
std::vector<float> RowOf(const Matrix<float>& matrix, size_t r, Change change) {
  std::vector<float> row(matrix.row(r), matrix.row(r) + kCols);
  for (float& value : row) value = change(value);
  return row;
}

TEST_CASE("weight: its own FP32 numbers", "[weight]") {
  const Matrix<float> matrix = RandomWeight();
  const Weight weight(RandomWeight());
  CHECK(weight.rows() == kRows);
  CHECK(weight.cols() == kCols);
  CHECK(weight.owned());
  CHECK_FALSE(weight.quantized());
  CHECK_FALSE(weight.stored_in_16_bits());
  CHECK(weight.StorageBits() == kRows * kCols * 32);
  CheckDecodeRows(weight,
                  [&](size_t r) { return RowOf(matrix, r, [](float value) { return value; }); });
}

TEST_CASE("weight: its own numbers, rounded to FP16", "[weight]") {
  const Matrix<float> matrix = RandomWeight();
  std::vector<float> wide(kRows * (kCols + 5), 1e30f);  // what is between the rows is not read
  for (size_t r = 0; r < kRows; ++r) std::copy_n(matrix.row(r), kCols, &wide[r * (kCols + 5)]);
  const Weight weight =
      Weight::RoundedToHalf(MatrixView<const float>(wide.data(), kRows, kCols, kCols + 5), "w");
  CHECK(weight.rows() == kRows);
  CHECK(weight.cols() == kCols);
  CHECK(weight.owned());
  CHECK_FALSE(weight.quantized());
  CHECK(weight.stored_in_16_bits());
  CHECK(weight.StorageBits() == kRows * kCols * 16);
  CheckDecodeRows(weight, [&](size_t r) { return RowOf(matrix, r, RoundToHalf); });
}

TEST_CASE("weight: what is beyond FP16 is an Error that names the matrix", "[weight]") {
  Matrix<float> matrix = RandomWeight();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float good : {65504.0f, -65519.0f, 0x1p-30f}) {  // round to 65504, -65504 and 0
    matrix(20, 41) = good;
    CHECK(Weight::RoundedToHalf(matrix.view(), "w").Decode()(20, 41) == RoundToHalf(good));
  }
  for (const float bad : {65520.0f, -1e9f, infinity, std::numeric_limits<float>::quiet_NaN()}) {
    matrix(20, 41) = bad;
    CHECK_ERROR(Weight::RoundedToHalf(matrix.view(), "layers.3.mlp.up_proj"),
                "layers.3.mlp.up_proj", "does not fit FP16", "65504");
  }
}

TEST_CASE("weight: every dense weight gives products its numbers as they are stored", "[weight]") {
  const Matrix<float> matrix = RandomWeight();
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Dense dense(matrix, dtype);
    INFO(DTypeName(dtype));
    const std::optional<DenseRows> native = Weight(dense.tensor).dense();
    REQUIRE(native.has_value());
    CHECK(native->data == dense.bytes.data());
    const Weight weight = Weight(dense.tensor).InHalf("w");
    const std::optional<DenseRows> half = weight.dense();
    REQUIRE(half.has_value());
    CHECK(half->type == DenseRows::Type::kFp16);
    CHECK((half->data == dense.bytes.data()) == (dtype == DType::kF16));
    CHECK(weight.InHalf("w").SharesStorage(weight));  // once
  }
}

TEST_CASE("weight: numbers that FP16 would lose are an Error that names the matrix", "[weight]") {
  const Matrix<float> matrix = RandomWeight();  // of the size of 1
  const auto scaled = [&](float factor) {
    Matrix<float> result(kRows, kCols);
    for (size_t i = 0; i < kRows * kCols; ++i) result.data()[i] = factor * matrix.data()[i];
    return result;
  };
  for (const float good : {1e3f, 1.0f, 1e-3f, 0x1p-13f, 0.0f})
    CHECK_NOTHROW(Weight::RoundedToHalf(scaled(good).view(), "w"));
  for (const float bad : {0x1p-16f, 1e-6f, 1e-8f, 1e-30f}) {
    CHECK_ERROR(Weight::RoundedToHalf(scaled(bad).view(), "layers.3.mlp.up_proj"),
                "layers.3.mlp.up_proj", "FP16 is too coarse", "become 0");
    const Dense dense(scaled(bad), DType::kBF16);
    CHECK_ERROR(Weight(dense.tensor).InHalf("layers.3.mlp.up_proj"), "layers.3.mlp.up_proj",
                "the type native");
  }
  // A few that vanish beside the others cost nothing that could be seen.
  Matrix<float> mixed = scaled(1);
  mixed(3, 3) = 1e-9f;
  CHECK(Weight::RoundedToHalf(mixed.view(), "w").Decode()(3, 3) == 0);
}

TEST_CASE("weight: which numbers are its own and which are stored in 16 bits", "[weight]") {
  const Matrix<float> matrix = RandomWeight();
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Dense dense(matrix, dtype);
    const Weight native(dense.tensor), fp16 = native.InHalf("w");
    INFO(DTypeName(dtype));
    CHECK_FALSE(native.owned());
    CHECK_FALSE(fp16.owned());  // still the checkpoint's, in memory of their own
    CHECK(native.OwnBytes() == 0);
    CHECK(fp16.OwnBytes() == (dtype == DType::kF16 ? 0 : kRows * kCols * 2));
    CHECK(native.stored_in_16_bits() == (dtype != DType::kF32));
    CHECK(fp16.stored_in_16_bits());
  }
  const Weight packed(std::make_shared<PackedMatrix>(RoundToNearest(matrix.view(), {.group = 21})));
  CHECK_FALSE(packed.owned());
  CHECK_FALSE(packed.stored_in_16_bits());
}

TEST_CASE("weight: copies keep their own numbers alive", "[weight]") {
  for (const bool half : {false, true}) {
    const auto make = [&] {
      return half ? Weight::RoundedToHalf(RandomWeight().view(), "w") : Weight(RandomWeight());
    };
    const Matrix<float> expected = make().Decode();
    Weight copy;
    {
      const Weight weight = make();
      copy = weight;
      CHECK(copy.SharesStorage(weight));
      CHECK(copy.owned());
      CHECK_FALSE(copy.SharesStorage(make()));  // equal numbers, but others
    }
    const std::vector<float> junk(kRows * kCols, 9);  // likely where freed numbers would have been
    CHECK(std::memcmp(copy.Decode().data(), expected.data(), kRows * kCols * 4) == 0);
    CHECK(junk.back() == 9);
  }
}

TEST_CASE("weight: in the kernels' layout it is the same weight", "[weight]") {
  const WeightScheme scheme{.bits = 4, .group = 14};
  const Weight packed(
      std::make_shared<const PackedMatrix>(RoundToNearest(RandomWeight().view(), scheme)));
  const Weight tiled = packed.WithKernels();
  CHECK(packed.tiled() == nullptr);
  REQUIRE(tiled.tiled() != nullptr);
  CHECK(tiled.packed() == nullptr);  // one form
  CHECK(tiled.quantized());
  CHECK_FALSE(tiled.stored_in_16_bits());
  CHECK(tiled.WithKernels().SharesStorage(tiled));
  CHECK_FALSE(tiled.SharesStorage(packed));
  CHECK(tiled.StorageBits() == packed.StorageBits());
  CHECK(tiled.CodesSha256() == packed.CodesSha256());
  const Matrix<float> expected = packed.Decode(), decoded = tiled.Decode();
  CHECK(std::memcmp(expected.data(), decoded.data(), kRows * kCols * sizeof(float)) == 0);
  const Weight simulated = tiled.With(Products::kSimulated);
  CHECK(simulated.tiled() == nullptr);
  CHECK(simulated.quantized());
  CHECK(simulated.SharesStorage(tiled));
  CHECK(simulated.With(Products::kKernel).tiled() == tiled.tiled());
}

TEST_CASE("weight: what the kernels cannot hold stays as it is", "[weight]") {
  const WeightScheme by_column{.bits = 4, .granularity = Granularity::kColumn};
  const Weight packed(
      std::make_shared<const PackedMatrix>(RoundToNearest(RandomWeight().view(), by_column)));
  CHECK(packed.WithKernels().tiled() == nullptr);
  CHECK(packed.WithKernels().packed() == packed.packed());
  const Weight dense(RandomWeight());
  CHECK(dense.WithKernels().tiled() == nullptr);
  CHECK(dense.WithKernels().SharesStorage(dense));
}

}  // namespace
}  // namespace quantref
