#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quantref {

// Processes that calibrate the same models together, each on samples of its own. All of them run
// the same code, so that each receives what another one sends.
class SampleShare {
 public:
  virtual ~SampleShare() = default;
  virtual size_t rank() const = 0;
  virtual size_t size() const = 0;
  // Bytes for another one, and the next of those that it sent here. Throw where one of them is
  // lost.
  virtual void Send(size_t to, std::string bytes) = 0;
  virtual std::string Receive(size_t from) = 0;
  // Takes a step, in which nothing is sent, that may fail on one of them alone, as where its memory
  // is full. Throws an Error on all where it threw one on any.
  virtual void TakeStep(const std::function<void()>& step) = 0;
};

// Samples in blocks that are forwarded side by side, `longest` at most. Of several processes block
// b is process b mod their number's. share == nullptr: one process has them all.
class SampleBlocks {
 public:
  SampleBlocks(size_t samples, size_t longest, const SampleShare* share);

  size_t samples() const { return samples_; }
  size_t count() const { return (samples_ + length_ - 1) / length_; }
  size_t First(size_t block) const { return block * length_; }
  size_t Size(size_t block) const;
  size_t Owner(size_t block) const { return block % processes_; }
  size_t OwnerOfSample(size_t sample) const { return Owner(sample / length_); }
  bool Owns(size_t block) const { return Owner(block) == rank_; }
  std::vector<size_t> OwnSamples() const;

 private:
  const size_t samples_, processes_, rank_, length_;
};

// Where a piece of what is summed lies.
using SumPiece = std::vector<std::span<char>>;
template <typename T>
std::span<char> BytesIn(T* values, size_t count) {
  return {reinterpret_cast<char*>(values), count * sizeof(T)};
}

// Sums over all samples, in pieces. A piece goes from process to process with the blocks of
// samples, and each adds to it what its block gives, sample after sample: so every sum has the
// order, and the bits, that it has in one process, while the processes are at work on other pieces
// each. Behind the last block it goes round, so that all have it. Of one process nothing goes
// anywhere.
class SumChain {
 public:
  SumChain(SampleShare* share, const SampleBlocks& blocks, size_t pieces)
      : share_(share), blocks_(blocks), pieces_(pieces) {}

  // Adds one of this process's blocks to a piece, of a number < pieces. Each thread has pieces of
  // its own; they are begun in the order of their numbers in all processes.
  void Add(size_t block, size_t number, const std::function<SumPiece()>& piece,
           const std::function<void()>& add);

  // What process `root` has, for all: `get` is called there, `set` elsewhere. By one thread.
  void Spread(size_t root, size_t number, const std::function<std::string()>& get,
              const std::function<void(std::string_view)>& set);
  // Of a sum behind the last block.
  void SpreadSum(size_t number, const std::function<SumPiece()>& piece);

 private:
  bool Alone() const { return share_ == nullptr || share_->size() == 1; }
  uint64_t KeyOf(size_t block, size_t number) const { return block * pieces_ + number; }
  void SendOn(uint64_t key, std::string bytes);
  std::string TakeFromBefore(uint64_t key);

  SampleShare* const share_;
  const SampleBlocks& blocks_;
  const size_t pieces_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  bool receiving_ = false;                 // one thread is at it
  std::map<uint64_t, std::string> inbox_;  // of other threads
};

}  // namespace quantref
