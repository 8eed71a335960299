// Ends the program before its first test where the machine lacks the instruction set that ctest
// wants tested: ctest knows the message and says "skipped".

#include <cstdio>
#include <cstdlib>

#include "harness/base/error.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

[[maybe_unused]] const bool kHasForcedIsa = [] {
  if (std::getenv("QUANTREF_SKIP_WITHOUT_ISA") == nullptr) return false;
  unsetenv("QUANTREF_SKIP_WITHOUT_ISA");  // not for the programs that tests start
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
