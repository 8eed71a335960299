#pragma once

namespace quantref {

// While muted neither messages nor results (say.h) are written: of processes that work for another
// one, which speaks for all.
void SetMessagesMuted(bool mute) noexcept;
bool MessagesAreMuted() noexcept;  // safe in a signal handler

}  // namespace quantref
