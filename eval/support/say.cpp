#include "eval/support/say.h"

#include <signal.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "eval/support/mute.h"

namespace quantref {
namespace {

std::atomic<bool> muted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace

void SetMessagesMuted(bool mute) noexcept { muted = mute; }
bool MessagesAreMuted() noexcept { return muted; }

void SayText(std::string_view text) noexcept {
  if (muted) return;
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void PrintWhole(std::string_view text) {
  if (muted) return;
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
    return;
  const int error = errno;
  if (error == EPIPE) {  // nobody reads on (head, less): no error, but the end
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
  }
  throw std::system_error(error, std::generic_category(), "cannot write to standard output");
}

}  // namespace quantref
