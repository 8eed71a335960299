#pragma once

#include <string>

namespace quantref {

// What people see of a protocol, with what its name does not say: "gptq-2048 without BOS".
inline std::string ProtocolText(const std::string& name, bool bos) {
  return bos ? name : name + " without BOS";
}

}  // namespace quantref
