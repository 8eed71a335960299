#include "quantizers/registry.h"

#include "quantizers/rtn.h"

namespace quantref {

const std::vector<const Rounder*>& Rounders() {
  static const Rtn rtn;
  static const std::vector<const Rounder*> rounders = {&rtn};
  return rounders;
}

const Rounder* FindRounder(std::string_view name) {
  for (const Rounder* rounder : Rounders()) {
    if (rounder->name() == name) return rounder;
  }
  return nullptr;
}

}  // namespace quantref
