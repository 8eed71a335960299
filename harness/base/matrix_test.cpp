#include "harness/base/matrix.h"

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace quantref {
namespace {

// 4 rows of 5 elements, each 10 * row + column, in rows of 7.
struct Strided {
  std::vector<int> storage = std::vector<int>(4 * 7, -1);
  MatrixView<int> view{storage.data(), 4, 5, 7};
  Strided() {
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < 5; ++c) storage[static_cast<size_t>(r * 7 + c)] = 10 * r + c;
    }
  }
};

TEST_CASE("matrix: a view finds its elements by the stride", "[matrix]") {
  const Strided strided;
  const MatrixView<int>& view = strided.view;
  CHECK(view.rows() == 4);
  CHECK(view.cols() == 5);
  CHECK(view.stride() == 7);
  CHECK_FALSE(view.empty());
  for (size_t r = 0; r < 4; ++r) {
    CHECK(view.row(r) == strided.storage.data() + 7 * r);
    const std::span<int> row = view.row_span(r);
    REQUIRE(row.size() == 5);
    for (size_t c = 0; c < 5; ++c) {
      CHECK(view(r, c) == static_cast<int>(10 * r + c));
      CHECK(&row[c] == &view(r, c));
    }
  }
}

TEST_CASE("matrix: without a stride the rows are dense", "[matrix]") {
  std::vector<int> storage(6);
  std::iota(storage.begin(), storage.end(), 0);
  const MatrixView<int> view(storage.data(), 2, 3);
  CHECK(view.stride() == 3);
  CHECK(view(0, 2) == 2);
  CHECK(view(1, 0) == 3);
}

TEST_CASE("matrix: rows and columns of a view are views of the same elements", "[matrix]") {
  const Strided strided;
  const MatrixView<int> part = strided.view.Rows(1, 2).Cols(2, 3);
  CHECK(part.rows() == 2);
  CHECK(part.cols() == 3);
  CHECK(part.stride() == 7);
  CHECK(part(0, 0) == 12);
  CHECK(part(1, 2) == 24);
  part(1, 1) = 99;
  CHECK(strided.view(2, 3) == 99);
  CHECK(strided.view.Rows(4, 0).empty());
  CHECK(strided.view.Cols(5, 0).empty());
  CHECK(strided.view.Rows(0, 4).Cols(0, 5).data() == strided.view.data());
}

TEST_CASE("matrix: a view turns constant, never mutable", "[matrix]") {
  const Strided strided;
  const MatrixView<const int> constant = strided.view;
  CHECK(constant.data() == strided.view.data());
  CHECK(constant.stride() == 7);
  CHECK(constant(3, 4) == 34);
  STATIC_REQUIRE(std::is_convertible_v<MatrixView<int>, MatrixView<const int>>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<MatrixView<const int>, MatrixView<int>>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<MatrixView<int>, MatrixView<const float>>);
  STATIC_REQUIRE(
      std::is_same_v<decltype(std::declval<const Matrix<int>&>().view()), MatrixView<const int>>);
}

TEST_CASE("matrix: a default view and a default matrix are empty", "[matrix]") {
  const MatrixView<float> view;
  CHECK(view.empty());
  CHECK(view.data() == nullptr);
  const Matrix<float> matrix;
  CHECK(matrix.rows() == 0);
  CHECK(matrix.data() == nullptr);
  CHECK(matrix.view().empty());
  CHECK(Matrix<float>(0, 5).view().empty());
  CHECK(Matrix<float>(5, 0).view().rows() == 5);
}

template <typename T>
void CheckAlignedAndDense(size_t rows, size_t cols) {
  Matrix<T> matrix(rows, cols);
  INFO(rows << " x " << cols << " elements of " << sizeof(T) << " bytes");
  CHECK(reinterpret_cast<uintptr_t>(matrix.data()) % 64 == 0);
  CHECK(matrix.view().stride() == cols);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) matrix(r, c) = static_cast<T>(r * cols + c);
  }
  size_t wrong = 0;
  for (size_t i = 0; i < rows * cols; ++i) wrong += matrix.data()[i] != static_cast<T>(i);
  CHECK(wrong == 0);
}

TEST_CASE("matrix: an owned array is dense and aligned to 64 bytes", "[matrix]") {
  for (size_t rows : {1, 2, 7, 64}) {
    for (size_t cols : {1, 3, 15, 16, 17, 100}) {
      CheckAlignedAndDense<float>(rows, cols);
      CheckAlignedAndDense<uint8_t>(rows, cols);
      CheckAlignedAndDense<uint16_t>(rows, cols);
      CheckAlignedAndDense<double>(rows, cols);
    }
  }
}

TEST_CASE("matrix: moving hands the array over", "[matrix]") {
  Matrix<int> from(2, 3);
  from(1, 2) = 7;
  int* data = from.data();
  const Matrix<int> to = std::move(from);
  CHECK(to.data() == data);
  CHECK(to.rows() == 2);
  CHECK(to.cols() == 3);
  CHECK(to(1, 2) == 7);
}

}  // namespace
}  // namespace quantref
