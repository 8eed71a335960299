#include "harness/quant/activation.h"

#include <fmt/format.h>

namespace quantref {

std::string ActivationName(const ActivationScheme& scheme) {
  return fmt::format("a{} {}{}", scheme.bits, scheme.per_token ? "token" : "tensor",
                     scheme.dynamic ? "" : " static");
}

}  // namespace quantref
