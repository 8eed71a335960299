#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "harness/base/check.h"
#include "harness/io/binary.h"

namespace quantref {

// What a message between ranks is; its first byte. Behind it are numbers, and what it brings.
enum class MessageKind : char {
  kAsk = 'a',    // to rank 0: round, thread
  kGive = 'g',   // round, thread, unit
  kDone = 'd',   // to rank 0: round, thread, unit, its result; it asks for another
  kEnded = 'e',  // a round
  kBytes = 'b',  // of Broadcast, Collect and SendTo
  kMore = 'm',   // a piece of a message that is too long
  kLast = 'z',   // its last piece
  kAlive = 'l',
  kFailed = 'f',   // to rank 0: why
  kStopped = 's',  // told to stop, or that another one is; its answer is the same
  kOver = 'q'      // the run, in peace; to rank 0: that is known
};

template <typename... Numbers>
std::string BeginMessage(MessageKind kind, Numbers... numbers) {
  std::string bytes(1, static_cast<char>(kind));
  (Put(bytes, uint64_t{numbers}), ...);
  return bytes;
}

inline size_t TakeNumber(std::string_view& bytes) {
  uint64_t number = 0;
  QR_CHECK(Take(bytes, number));
  return number;
}

}  // namespace quantref
