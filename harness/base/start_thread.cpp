#include "harness/base/start_thread.h"

#include "harness/base/error.h"

namespace quantref {

void ThrowNoThread(const std::system_error& reason) {
  throw Error("the system refuses another thread: " + reason.code().message(), "threads",
              "use fewer --threads, or raise the limits of processes (ulimit -u, or the batch "
              "system's) and of address space (ulimit -v)");
}

}  // namespace quantref
