#define Eigen EigenAvx2
#define EIGEN_PRODUCT EigenProductAvx2
#include "harness/bench/eigen_product.inc"
