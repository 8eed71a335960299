#pragma once

#include <algorithm>

#include "harness/base/matrix.h"

namespace quantref {

template <typename T>
Matrix<T> CopyOf(const Matrix<T>& from) {
  Matrix<T> to(from.rows(), from.cols());
  std::copy_n(from.data(), from.rows() * from.cols(), to.data());
  return to;
}

}  // namespace quantref
