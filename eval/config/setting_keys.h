#pragma once

#include "harness/base/error.h"

namespace quantref {

// The error as who wrote a config reads it: of one about a setting (harness/base/setting_error.h)
// `where` is the config's key for it; any other is as it is.
Error InConfigsWords(const Error& error);

}  // namespace quantref
