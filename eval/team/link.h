#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace quantref {

struct Message {
  size_t from = 0;
  std::string bytes;
};

// No message is longer: what is, its sender cuts up.
inline constexpr size_t kLongestMessage = size_t{1} << 22;

// Messages between the processes of one run, its ranks: each is one of `size`, the first is 0. What
// one rank sends to another arrives in that order. Used by one thread, which also makes it; no call
// but the last waits for another rank.
class Link {
 public:
  virtual ~Link() = default;
  virtual size_t rank() const = 0;
  virtual size_t size() const = 0;

  // Begins to send at most kLongestMessage bytes.
  virtual void Send(size_t to, std::string bytes) = 0;
  // Of messages that are not out of this process yet.
  virtual size_t UnsentBytes() = 0;
  // A message that has arrived; nothing where none has.
  virtual std::optional<Message> Receive() = 0;
  // Whether nothing is under way, in or out, so that Receive need not be called again soon.
  virtual bool IsIdle() = 0;

  // The last call: everybody's work is done; or it is over for everybody, whatever they do.
  virtual void Close() = 0;
  virtual void Abort(int exit_code) = 0;
};

// What the plugin has by this name: makes the link of this process.
using OpenLink = Link* (*)();
inline constexpr char kOpenLinkName[] = "QuantrefOpenLink";

}  // namespace quantref
