// The plugin libquantref_mpi.so, which run_eval loads where mpirun started it: so that nobody else
// needs MPI.

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "eval/team/link.h"

namespace quantref {
namespace {

constexpr int kTag = 1;

// Errors are fatal, as MPI has it: the launcher says them and ends the job.
class MpiLink : public Link {
 public:
  MpiLink() {
    int provided = 0, rank = 0, size = 1;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    rank_ = static_cast<size_t>(rank);
    size_ = static_cast<size_t>(size);
  }

  size_t rank() const override { return rank_; }
  size_t size() const override { return size_; }

  void Send(size_t to, std::string bytes) override {
    Transfer& sending = sending_.emplace_back(to, std::move(bytes));
    MPI_Isend(sending.bytes.data(), static_cast<int>(sending.bytes.size()), MPI_BYTE,
              static_cast<int>(to), kTag, MPI_COMM_WORLD, &sending.request);
  }

  size_t UnsentBytes() override {
    sending_.remove_if([](Transfer& sending) { return sending.IsDone(); });
    size_t bytes = 0;
    for (const Transfer& sending : sending_) bytes += sending.bytes.size();
    return bytes;
  }

  // Of each rank the one that was begun first.
  std::optional<Message> Receive() override {
    BeginToReceive();
    std::vector<bool> waits(size_);
    for (auto it = receiving_.begin(); it != receiving_.end(); ++it) {
      if (waits[it->other]) continue;
      waits[it->other] = true;
      if (!it->IsDone()) continue;
      Message message{it->other, std::move(it->bytes)};
      receiving_.erase(it);
      return message;
    }
    return std::nullopt;
  }

  bool IsIdle() override { return sending_.empty() && receiving_.empty(); }

  void Close() override { MPI_Finalize(); }
  void Abort(int exit_code) override { MPI_Abort(MPI_COMM_WORLD, exit_code); }

 private:
  struct Transfer {
    Transfer(size_t rank, std::string text) : other(rank), bytes(std::move(text)) {}
    bool IsDone() {
      int done = 0;
      MPI_Test(&request, &done, MPI_STATUS_IGNORE);
      return done != 0;
    }
    size_t other;
    std::string bytes;  // stays where it is until the request is done
    MPI_Request request = MPI_REQUEST_NULL;
  };

  // Whatever has been announced, so that one rank that stops in the middle keeps nobody else.
  void BeginToReceive() {
    for (;;) {
      int there = 0, count = 0;
      MPI_Message message;
      MPI_Status status;
      MPI_Improbe(MPI_ANY_SOURCE, kTag, MPI_COMM_WORLD, &there, &message, &status);
      if (there == 0) return;
      MPI_Get_count(&status, MPI_BYTE, &count);
      if (count < 0 || static_cast<size_t>(count) > kLongestMessage)
        throw std::length_error("a message of a size that no rank sends");
      Transfer& receiving = receiving_.emplace_back(static_cast<size_t>(status.MPI_SOURCE),
                                                    std::string(static_cast<size_t>(count), '\0'));
      MPI_Imrecv(receiving.bytes.data(), count, MPI_BYTE, &message, &receiving.request);
    }
  }

  size_t rank_ = 0, size_ = 1;
  std::list<Transfer> sending_, receiving_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) Link* QuantrefOpenLink() { return new MpiLink; }

}  // namespace quantref
