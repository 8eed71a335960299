#pragma once

namespace quantref {

// How many cores two threads get at this moment: two loops of dependent additions on two of the
// allowed CPUs, alone and together; 2 where each has a core of its own, 1 where they share one,
// which two virtual cores may do for minutes without telling. 1 where one CPU alone is allowed.
// Takes about a quarter of a second.
double MeasureFreeCores();

}  // namespace quantref
