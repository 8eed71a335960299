#pragma once

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace quantref {

// The exit codes of every program: 0 done, 1 a gate failed, 2 the user's input is wrong, 3 a bug.
inline constexpr int kExitGateFailed = 1;
inline constexpr int kExitWrongInput = 2;
inline constexpr int kExitBug = 3;

// Adds --version, parses the command line and calls `run`, whose result is the exit code. Prints
// "program: message" on stderr and returns kExitWrongInput for a wrong command line, for an Error
// and for what the system refused (a full disk, no more threads), kExitBug for any other exception.
int GuardedMain(CLI::App& app, int argc, char** argv, const std::function<int()>& run);

// Writes to standard output. Long text does not wait for the end of the program, which would not
// see that it could not be written: throws std::system_error.
void PrintWhole(const std::string& text);

}  // namespace quantref
