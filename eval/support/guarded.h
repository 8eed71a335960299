#pragma once

#include <functional>

namespace quantref {

class CommandLine;

// The exit codes of every program: 0 done, 1 a gate failed, 2 the user's input is wrong or the user
// stopped it, 3 a bug. A second Ctrl-C or SIGTERM kills it as any other program.
inline constexpr int kExitGateFailed = 1;
inline constexpr int kExitWrongInput = 2;
inline constexpr int kExitBug = 3;

// Parses the command line and calls `run`, whose result is the exit code. Prints
// "program: message" on stderr and returns kExitWrongInput for a wrong command line, for an Error,
// for what the system refused (a full disk, no more threads) and for an interrupt (interrupt.h),
// after which no program returns 0; kExitBug for any other exception.
int GuardedMain(CommandLine& line, int argc, char** argv, const std::function<int()>& run);

}  // namespace quantref
