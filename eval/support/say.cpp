#include "eval/support/say.h"

#include <signal.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <system_error>
#include <thread>

#include "eval/support/mute.h"

namespace quantref {
namespace {

std::atomic<bool> muted{false}, held{false};
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace

void SetMessagesMuted(bool mute) noexcept { muted = mute; }
void SetMessagesHeld(bool hold) noexcept { held = hold; }
bool MessagesAreMuted() noexcept { return muted || held; }

void SayText(std::string_view text) noexcept {
  if (muted) return;
  if (held) {  // until then: who ends this process first need not be told of
    std::this_thread::sleep_for(std::chrono::seconds(kHeldSeconds));
    held = false;
  }
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void PrintWhole(std::string_view text) {
  if (MessagesAreMuted()) return;
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
