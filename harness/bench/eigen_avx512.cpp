// Eigen's templates by another name in each such file: the linker would otherwise take one file's
// code, compiled for one instruction set, for the other's.
#define Eigen EigenAvx512
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_NO_DEBUG
#include <Eigen/Core>

#include "harness/bench/eigen_product.h"

namespace quantref::bench {

void EigenProductAvx512(const float* x, const float* w, float* y, size_t m, size_t n, size_t k) {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto index = [](size_t i) { return static_cast<Eigen::Index>(i); };
  const Eigen::Map<const RowMajor> left(x, index(m), index(k)), right(w, index(n), index(k));
  Eigen::Map<RowMajor>(y, index(m), index(n)).noalias() = left * right.transpose();
}

}  // namespace quantref::bench
