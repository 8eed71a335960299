#pragma once

#include <cstdint>
#include <memory>

#include "harness/base/matrix.h"

namespace quantref::bench {

// y (tokens, rows) = scales[row] * x (tokens, cols) w (rows, cols)^T of signed bytes, by oneDNN on
// one thread, with the weights in the layout that it chooses. The references must outlive it.
class OneDnnProduct {
 public:
  OneDnnProduct(const Matrix<int8_t>& x, const Matrix<int8_t>& w, const Matrix<float>& scales);
  ~OneDnnProduct();
  void Run();
  const Matrix<float>& y() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quantref::bench
