#include "harness/base/cancel.h"

#include "harness/base/error.h"

namespace quantref::internal {

void ThrowCancelled() { throw Interrupted("stopped by a signal", "interrupt"); }

}  // namespace quantref::internal
