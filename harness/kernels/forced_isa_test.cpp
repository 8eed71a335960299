// Ends the program before its first test where the machine lacks the instruction set that it is to
// test: ctest knows the message and says "skipped".

#include <cstdio>
#include <cstdlib>

#include "harness/base/error.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

[[maybe_unused]] const bool kHasForcedIsa = [] {
  try {
    ActiveIsa();
    return true;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::_Exit(2);
  }
}();

}  // namespace
}  // namespace quantref
