#include "eval/guarded.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <new>
#include <system_error>

#include "eval/interrupt.h"
#include "eval/version.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

[[noreturn]] void ThrowUnwritten() {
  throw std::system_error(errno, std::generic_category(), "cannot write to standard output");
}

}  // namespace

int GuardedMain(CLI::App& app, int argc, char** argv, const std::function<int()>& run) {
  const std::string program = app.get_name();
  app.set_version_flag("--version", fmt::format("QuantRef {} ({}{})", kVersion, kGitCommit,
                                                kGitDirty ? ", changed" : ""));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitWrongInput;
  }
  try {
    CatchInterrupts();
    const int exit_code = run();
    if (std::fflush(stdout) != 0) ThrowUnwritten();
    return exit_code;
  } catch (const Error& error) {
    fmt::print(stderr, "{}: {}\n", program, error.what());
    return kExitWrongInput;
  } catch (const std::system_error& error) {  // what the machine refused: a full disk, no threads
    fmt::print(stderr, "{}: {}\n", program, error.what());
    return kExitWrongInput;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr,
               "{}: out of memory\n  hint: fewer --threads need less; --dry-run shows how much\n",
               program);
    return kExitWrongInput;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: unexpected: {}\nThis is a bug in QuantRef; please report it.\n",
               program, error.what());
    return kExitBug;
  }
}

void PrintWhole(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) ThrowUnwritten();
}

}  // namespace quantref
