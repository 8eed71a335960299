#pragma once

#include "harness/base/error.h"

namespace quantref {

// A setting that the caller gave cannot be. `where` is what this library calls it, a field of the
// structure that holds it ("keep", "lora.rank"); what people call it in whatever they write it in,
// the caller knows (eval/config/setting_keys.h).
class SettingError : public Error {
 public:
  using Error::Error;
};

}  // namespace quantref
