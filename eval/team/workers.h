#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/cancel.h"
#include "harness/base/error.h"

namespace quantref {

// Why the processes of a run cannot go on together: one is lost, has failed, or is not like the
// others. No part of the run can go on then.
class TeamError : public Error {
 public:
  using Error::Error;
};

// What is called where the processes of a run are told to stop (harness/base/cancel.h): all of them
// are where one is.
struct ToldToStop {
  std::function<bool()> here = CancelRequested;  // whether this one is
  std::function<void()> stop{};  // on rank 0, where it is another one that was told
  // By who speaks for all, once it is known who else has heard of it: launchers tell all to stop
  // where one is gone. `lost`: a message that says which are; "" where none is.
  std::function<void(const std::string& lost)> say{};
  // For that: Open MPI kills a second after it has told all.
  std::chrono::duration<double> answer{0.5};
};

// The processes that do the work of one run together, its ranks. Rank 0 plans, deals, collects and
// keeps; the others do what they are dealt and hold what they are sent. All run the same code up to
// these calls, and make them in the same order. A run of one process is the case of one rank.
class Workers {
 public:
  // The result of unit number `unit` as bytes, made on the worker-th thread of this rank.
  using Work = std::function<std::string(size_t unit, size_t worker)>;
  // Takes the result of a unit, which rank `from` made. Called on rank 0, one at a time, in the
  // order of completion.
  using Take = std::function<void(size_t unit, size_t from, std::string_view result)>;

  virtual ~Workers() = default;
  virtual size_t rank() const { return 0; }
  virtual size_t size() const { return 1; }
  bool IsFirst() const { return rank() == 0; }
  bool Alone() const { return size() == 1; }
  // Names of the machines, by rank.
  virtual std::vector<std::string> hosts() const { return {}; }

  // On rank 0: has the units done, each once, by whoever asks next: its own threads, so many, and
  // those of the others. They are handed out in their order. The first exception ends the handing
  // out and is thrown on, as is a request to cancel (harness/base/cancel.h), after what is finished
  // was taken. On the others: does units that rank 0 hands out, in any number of its calls, until
  // it dismisses them; `units` and `take` are not looked at.
  // All but OneProcess throw TeamError, here and below, once one of the processes is lost or fails.
  virtual void Deal(std::span<const size_t> units, size_t threads, const Work& work,
                    const Take& take) = 0;
  virtual void Dismiss() {}  // by rank 0

  // Rank 0's bytes, on every rank.
  virtual std::string Broadcast(std::string bytes) { return bytes; }
  // Every rank's bytes, by rank, on rank 0; nothing elsewhere.
  virtual std::vector<std::string> Collect(std::string bytes) { return {std::move(bytes)}; }
  // Bytes for one rank; and the next of those that a rank has sent here.
  virtual void SendTo(size_t, std::string) {}
  virtual std::string ReceiveFrom(size_t) { return {}; }
  // Others wait here, asleep, until rank 0 comes here too.
  void WaitForFirst() { Broadcast({}); }

  // Of other ranks: the work fails here, as rank 0 will say.
  virtual void Fail(const std::string&) {}
  // The last but one call, on every rank: others wait until rank 0 ends the run, which waits, where
  // its own work is complete, until all have heard of that. Returns why the run cannot end in
  // peace;
  // "" where it can, or where rank 0 knows already.
  virtual std::string AwaitEnd(bool) { return {}; }
  // The last call: ends the run of all, in peace where this one's is complete, else by force.
  virtual void End(bool) {}
};

// This process alone: units are done by its threads.
class OneProcess : public Workers {
 public:
  void Deal(std::span<const size_t> units, size_t threads, const Work& work,
            const Take& take) override;
};

}  // namespace quantref
