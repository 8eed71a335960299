#include "harness/base/error.h"

#include <utility>

namespace quantref {

Error::Error(std::string what, std::string where, std::string hint)
    : what_(std::move(what)), where_(std::move(where)), hint_(std::move(hint)) {
  message_ = where_.empty() ? what_ : where_ + ": " + what_;
  if (!hint_.empty()) message_ += "\n  hint: " + hint_;
}

}  // namespace quantref
