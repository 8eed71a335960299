#pragma once

namespace quantref {

// While muted neither messages nor results (say.h) are written: of processes that work for another
// one, which speaks for all.
void SetMessagesMuted(bool mute) noexcept;

// While they are held the first message waits for kHeldSeconds, and results are not written: of
// processes beside one that meets the same, says it, and ends, whereupon their launcher ends them
// (mpirun does). Where it meets something else they say what they have to.
inline constexpr int kHeldSeconds = 10;
void SetMessagesHeld(bool hold) noexcept;

// Or held. Safe in a signal handler.
bool MessagesAreMuted() noexcept;

}  // namespace quantref
