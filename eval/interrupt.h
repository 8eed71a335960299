#pragma once

namespace quantref {

// From here on the first SIGINT or SIGTERM only sets a flag and says so on stderr; a second one
// ends the process.
void CatchInterrupts();

bool InterruptRequested();
void ThrowIfInterrupted();  // throws Interrupted

}  // namespace quantref
