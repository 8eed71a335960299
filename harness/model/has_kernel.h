#pragma once

namespace quantref {

struct Linear;  // weights.h

// Whether a product with the linear, of one token at least, multiplies its codes: a kernel takes
// the weight, and with it what the activations ask for. Else the weight is decoded for every one.
bool HasKernel(const Linear& linear);

}  // namespace quantref
