#include "harness/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace quantref::internal {

void CheckFailed(const char* file, int line, const char* expression, const std::string& values) {
  std::fprintf(stderr,
               "%s:%d: CHECK failed: %s%s%s\nThis is a bug in QuantRef; please report it.\n", file,
               line, expression, values.empty() ? "" : ": ", values.c_str());
  std::fflush(stderr);
  // The mains catch SIGABRT only through the exit status 3 that they promise for bugs.
  std::_Exit(3);
}

}  // namespace quantref::internal
