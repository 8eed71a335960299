#pragma once

#include <functional>

#include "eval/support/exit_codes.h"

namespace quantref {

class CommandLine;

// Parses the command line and calls `run`, whose result is the exit code. Prints
// "program: message" on stderr and returns kExitWrongInput for a wrong command line, for an Error,
// for what the system refused (a full disk, no more threads) and for an interrupt (interrupt.h),
// after which no program returns 0; kExitBug for any other exception.
int GuardedMain(CommandLine& line, int argc, char** argv, const std::function<int()>& run);

}  // namespace quantref
