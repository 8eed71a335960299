#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

#include "harness/base/check.h"

namespace quantref {

// A (rows, cols) row-major view; `stride` is the distance between rows in elements, >= cols.
template <typename T>
class MatrixView {
 public:
  MatrixView() = default;
  MatrixView(T* data, size_t rows, size_t cols, size_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {
    QR_DCHECK_LE(cols, stride);
  }
  MatrixView(T* data, size_t rows, size_t cols) : MatrixView(data, rows, cols, cols) {}
  // A view of mutable elements is one of constant elements: implicit, as std::span's.
  template <typename U>
  // NOLINTNEXTLINE(google-explicit-constructor)
  requires std::is_same_v<const U, T> MatrixView(const MatrixView<U>& other)
      : MatrixView(other.data(), other.rows(), other.cols(), other.stride()) {}

  T* data() const { return data_; }
  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  size_t stride() const { return stride_; }
  bool empty() const { return rows_ == 0 || cols_ == 0; }

  T* row(size_t r) const {
    QR_DCHECK_LT(r, rows_);
    return data_ + r * stride_;
  }
  std::span<T> row_span(size_t r) const { return {row(r), cols_}; }
  T& operator()(size_t r, size_t c) const {
    QR_DCHECK_LT(c, cols_);
    return row(r)[c];
  }

  MatrixView Rows(size_t first, size_t count) const {
    QR_DCHECK_LE(first + count, rows_);
    return {data_ + first * stride_, count, cols_, stride_};
  }
  MatrixView Cols(size_t first, size_t count) const {
    QR_DCHECK_LE(first + count, cols_);
    return {data_ + first, rows_, count, stride_};
  }

 private:
  T* data_ = nullptr;
  size_t rows_ = 0, cols_ = 0, stride_ = 0;
};

// Owns a dense (rows, cols) array aligned to 64 bytes. The elements start uninitialised.
template <typename T>
class Matrix {
 public:
  Matrix() = default;
  Matrix(size_t rows, size_t cols) : rows_(rows), cols_(cols) {
    const size_t bytes = (rows * cols * sizeof(T) + 63) / 64 * 64;
    if (bytes == 0) return;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
  }

  T* data() const { return data_.get(); }
  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  MatrixView<T> view() { return {data(), rows_, cols_}; }
  MatrixView<const T> view() const { return {data(), rows_, cols_}; }
  T* row(size_t r) const { return MatrixView<T>(data(), rows_, cols_).row(r); }
  T& operator()(size_t r, size_t c) const { return row(r)[c]; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  size_t rows_ = 0, cols_ = 0;
};

}  // namespace quantref
