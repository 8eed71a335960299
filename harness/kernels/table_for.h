#pragma once

#include "harness/base/check.h"
#include "harness/kernels/isa.h"

namespace quantref {

// What of a kind of kernels there is one a set of; where AMX adds nothing it has that of AVX-512.
template <typename Table>
const Table& TableFor(Isa isa, const Table& scalar, const Table& avx2, const Table& avx512,
                      const Table& amx) {
  switch (isa) {
    case Isa::kScalar:
      return scalar;
    case Isa::kAvx2:
      return avx2;
    case Isa::kAvx512:
      return avx512;
    case Isa::kAmx:
      return amx;
  }
  QR_CHECK(false);
  return scalar;
}
template <typename Table>
const Table& TableFor(Isa isa, const Table& scalar, const Table& avx2, const Table& avx512) {
  return TableFor(isa, scalar, avx2, avx512, avx512);
}

}  // namespace quantref
