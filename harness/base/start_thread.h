#pragma once

#include <system_error>
#include <thread>
#include <utility>

namespace quantref {

// Throws the Error of a thread that the system refused.
[[noreturn]] void ThrowNoThread(const std::system_error& reason);

// A thread that runs body(). Error where the system refuses one.
template <typename F>
std::jthread StartThread(F&& body) {
  try {
    return std::jthread(std::forward<F>(body));
  } catch (const std::system_error& reason) {
    ThrowNoThread(reason);
  }
}

}  // namespace quantref
