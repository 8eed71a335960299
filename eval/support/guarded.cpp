#include "eval/support/guarded.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <new>
#include <sstream>
#include <system_error>

#include "eval/support/interrupt.h"
#include "eval/support/mapping_faults.h"
#include "eval/support/option_values.h"
#include "eval/support/say.h"
#include "eval/support/text_table.h"
#include "eval/support/version.h"
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

// What parsing throws: a wrong command line, or an answer (--help, --version).
int AnswerOf(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out, err;
  const bool answered = app.exit(error, out, err) == 0;
  SayText(err.str());
  PrintWhole(out.str());
  return answered ? 0 : kExitWrongInput;
}

int ParseAndRun(CLI::App& app, int argc, char** argv, const std::function<int()>& run) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return AnswerOf(app, error);
  }
  RefuseEmptyArguments(argc, argv);
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

int GuardedMain(CLI::App& app, int argc, char** argv, const std::function<int()>& run) {
  static const std::string program = app.get_name();
  OccupyStandardDescriptors();
  CatchSignals(program.c_str());
  CatchMappingFaults(program);
  app.set_version_flag("--version", fmt::format("QuantRef {} ({}{})", kVersion, kGitCommit,
                                                kGitDirty ? ", changed" : ""));
  RefuseEmptyValues(app);
  int exit_code = 0;
  try {
    exit_code = ParseAndRun(app, argc, argv, run);
  } catch (...) {
    if (!CancelRequested()) return Explain(program);
  }
  if (!CancelRequested()) return exit_code;
  SayInterrupted();
  return kExitWrongInput;
}

}  // namespace quantref
