#pragma once

#include <exception>
#include <string>

namespace quantref {

// Something that a user, a file, a device or a network can cause. Thrown by every layer; turned
// into one message and exit code 2 by the mains. Contracts inside the code use check.h instead.
class Error : public std::exception {
 public:
  // what: what went wrong, with what was expected and what was found, one sentence without a final
  // period. where: the file, key or flag at fault (may be empty). hint: how to mend it (may be
  // empty).
  Error(std::string what, std::string where, std::string hint = {});

  const char* what() const noexcept override {
    return message_.c_str();
  }  // "where: what\n  hint: ..."
  const std::string& problem() const { return what_; }
  const std::string& where() const { return where_; }
  const std::string& hint() const { return hint_; }

 private:
  std::string what_, where_, hint_, message_;
};

// Thrown where work was stopped by the user (Ctrl-C, SIGTERM).
class Interrupted : public Error {
 public:
  using Error::Error;
};

}  // namespace quantref
