#pragma once

#include <string>

namespace quantref {

// From here on a mapped file (MappedFile) that is cut short or cannot be read any more ends the
// process with kExitWrongInput and one message on stderr, whichever thread reads it, instead of a
// SIGBUS without a word. Any other SIGBUS keeps its action.
void CatchMappingFaults(const std::string& program);

}  // namespace quantref
