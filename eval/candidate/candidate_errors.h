#pragma once

#include <fmt/format.h>

#include <string>

#include "harness/base/error.h"
#include "harness/io/input_file.h"

namespace quantref {

// What `f` returns, with the candidate's label in its errors.
template <typename F>
auto NamingCandidate(const std::string& label, const F& f) {
  try {
    return f();
  } catch (const Interrupted&) {
    throw;
  } catch (const InputChanged&) {
    throw;
  } catch (const Error& error) {
    throw Error(fmt::format("candidate {}: {}", label, error.problem()), error.where(),
                error.hint());
  }
}

}  // namespace quantref
