#define Eigen EigenAvx512
#define EIGEN_PRODUCT EigenProductAvx512
#include "harness/bench/eigen_product.inc"
