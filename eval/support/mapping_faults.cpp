#include "eval/support/mapping_faults.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "eval/support/exit_codes.h"
#include "harness/io/mapped_file.h"

namespace quantref {
namespace {

char faulting_program[64] = "";
std::atomic_flag reported = ATOMIC_FLAG_INIT;

// Several threads may meet the fault; one of them tells it. Only what is safe in a signal handler.
[[noreturn]] void Report(const MappingFault& fault) {
  while (reported.test_and_set()) pause();  // until the other ends the process
  char text[4096 + 512] = "";               // PATH_MAX and the rest
  size_t used = 0;
  const char* const parts[] = {
      isatty(STDERR_FILENO) == 1 ? "\n" : "",  // a progress bar may stand there
      faulting_program,
      ": ",
      fault.path,
      fault.cut_short ? ": the file was cut short while it was in use\n"
                      : ": the file cannot be read any more: its disk or the way to it failed\n",
      "  hint: nothing was recorded; the windows finished before are kept: put back what the file "
      "held and go on with --resume, or run anew\n"};
  for (const char* part : parts) {
    const size_t length = strnlen(part, sizeof(text) - used);
    std::memcpy(text + used, part, length);
    used += length;
  }
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text, used);
  _exit(kExitWrongInput);
}

void HandleBusError(int signal, siginfo_t* info, void*) {
  MappingFault fault;
  const bool sent = info->si_code <= 0;  // by a process, and not by a read of memory
  if (!sent && FindMappingFault(info->si_addr, fault)) Report(fault);
  ::signal(signal, SIG_DFL);
  if (sent) raise(signal);  // else the read happens again
}

}  // namespace

void CatchMappingFaults(const std::string& program) {
  program.copy(faulting_program, sizeof(faulting_program) - 1);
  struct sigaction action = {};
  action.sa_sigaction = HandleBusError;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace quantref
