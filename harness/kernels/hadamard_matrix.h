#pragma once

#include <cstddef>
#include <optional>

#include "harness/base/matrix.h"

namespace quantref {

// Hadamard matrices: entries 1 and -1, H H^T = n I. An order n = 2^k m, m odd, is made of a core of
// order 2^j m, which has its rows by number theory, and of Sylvester's matrix of order 2^(k - j):
// H_n = core (x) Sylvester. Cores are
//   1
//   q + 1      q a power of a prime, q mod 4 = 3   (Paley 1933, construction I)
//   2 (q + 1)  q a power of a prime, q mod 4 = 1   (construction II)
//   92, 172    (Williamson 1944: four symmetric circulant matrices)
// up to 512; with these every order below 116 that can have one, and all that models known here
// need: 11008 = 172 * 64, 13824 = 108 * 128, 14336 = 28 * 512, 18944 = 148 * 128.

// The smallest core of the order; none: no matrix of the order is known here.
std::optional<size_t> HadamardCore(size_t order);

// The core itself, (order, order), made at the first call and checked: H H^T = n I. Safe to call
// from several threads.
const Matrix<float>& HadamardCoreMatrix(size_t order);

}  // namespace quantref
