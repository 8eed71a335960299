#include "harness/base/glob.h"

#include <fnmatch.h>

namespace quantref {

bool GlobMatches(const std::string& pattern, const std::string& name) {
  return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

}  // namespace quantref
