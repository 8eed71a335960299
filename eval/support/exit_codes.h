#pragma once

namespace quantref {

// The exit codes of every program: 0 done, 1 a gate failed, 2 the user's input is wrong or the user
// stopped it, 3 a bug. A second Ctrl-C or SIGTERM kills it as any other program.
inline constexpr int kExitGateFailed = 1;
inline constexpr int kExitWrongInput = 2;
inline constexpr int kExitBug = 3;

}  // namespace quantref
