// What libFuzzer calls: the one target that is linked in.

#include <cstddef>
#include <cstdint>

#include "harness/base/check.h"
#include "harness/testing/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using quantref::testing::FuzzTargets;
  QR_CHECK_EQ(FuzzTargets().size(), 1u);
  quantref::testing::RunFuzzTarget(FuzzTargets()[0], {reinterpret_cast<const char*>(data), size});
  return 0;
}
