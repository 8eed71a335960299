#pragma once

namespace quantref {

// The standard normal distribution.

double NormalBelow(double z);         // the share below z
double NormalQuantile(double share);  // what that share lies below, in (0, 1): the inverse
double NormalWithin(double z);        // the share in [-z, z], z >= 0

}  // namespace quantref
