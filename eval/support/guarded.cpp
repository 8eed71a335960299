#include "eval/support/guarded.h"

#include <fcntl.h>
#include <unistd.h>

#include <new>
#include <optional>
#include <string>
#include <system_error>

#include "eval/support/command_line.h"
#include "eval/support/interrupt.h"
#include "eval/support/mapping_faults.h"
#include "eval/support/say.h"
#include "eval/support/text_table.h"
#include "harness/base/cancel.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

// Where one of the three is closed the next file would take its number, and messages would be
// written into it. They are opened the wrong way round, so that what is read or written there fails
// as it would have.
void OccupyStandardDescriptors() {
  for (const int number : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(number, F_GETFD) >= 0) continue;
    // The lowest number that is free is this one.
    [[maybe_unused]] const int opened =
        open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

int ParseAndRun(CommandLine& line, int argc, char** argv, const std::function<int()>& run) {
  if (const std::optional<int> answer = line.Parse(argc, argv)) return *answer;
  const int exit_code = run();
  PrintWhole("");
  return exit_code;
}

// The exit code of the exception at hand, after its message.
int Explain(const std::string& program) {
  try {
    throw;
  } catch (const Error& error) {
    Say("{}: {}\n", program, Printable(error.what()));  // it may quote a file
    return kExitWrongInput;
  } catch (const std::system_error& error) {  // what the machine refused: a full disk, no threads
    Say("{}: {}\n", program, error.what());
    return kExitWrongInput;
  } catch (const std::bad_alloc&) {
    Say("{}: out of memory\n  hint: fewer --threads need less; --dry-run shows how much\n",
        program);
    return kExitWrongInput;
  } catch (const std::exception& error) {
    Say("{}: unexpected: {}\nThis is a bug in QuantRef; please report it.\n", program,
        error.what());
    return kExitBug;
  }
}

}  // namespace

int GuardedMain(CommandLine& line, int argc, char** argv, const std::function<int()>& run) {
  static const std::string program = line.program();
  OccupyStandardDescriptors();
  CatchSignals(program.c_str());
  CatchMappingFaults(program);
  int exit_code = 0;
  try {
    exit_code = ParseAndRun(line, argc, argv, run);
  } catch (...) {
    if (!CancelRequested()) return Explain(program);
  }
  if (!CancelRequested()) return exit_code;
  SayInterrupted();
  return kExitWrongInput;
}

}  // namespace quantref
