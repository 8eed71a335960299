#include "harness/method/sample_share.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "harness/base/check.h"
#include "harness/io/binary.h"

namespace quantref {
namespace {

std::string BytesOf(const SumPiece& piece) {
  std::string bytes;
  size_t size = 0;
  for (const std::span<char> part : piece) size += part.size();
  bytes.reserve(size);
  for (const std::span<char> part : piece) bytes.append(part.data(), part.size());
  return bytes;
}

void Fill(const SumPiece& piece, std::string_view bytes) {
  for (const std::span<char> part : piece) {
    QR_CHECK_LE(part.size(), bytes.size());
    if (!part.empty()) std::memcpy(part.data(), bytes.data(), part.size());
    bytes.remove_prefix(part.size());
  }
  QR_CHECK(bytes.empty());
}

}  // namespace

SampleBlocks::SampleBlocks(size_t samples, size_t longest, const SampleShare* share)
    : samples_(samples),
      processes_(share == nullptr ? 1 : share->size()),
      rank_(share == nullptr ? 0 : share->rank()),
      length_(std::clamp<size_t>((samples + processes_ - 1) / processes_, 1, longest)) {}

size_t SampleBlocks::Size(size_t block) const { return std::min(length_, samples_ - First(block)); }

std::vector<size_t> SampleBlocks::OwnSamples() const {
  std::vector<size_t> own;
  for (size_t sample = 0; sample < samples_; ++sample) {
    if (OwnerOfSample(sample) == rank_) own.push_back(sample);
  }
  return own;
}

void SumChain::Add(size_t block, size_t number, const std::function<SumPiece()>& piece,
                   const std::function<void()>& add) {
  if (Alone()) return add();
  if (block > 0) Fill(piece(), TakeFromBefore(KeyOf(block - 1, number)));
  add();
  if (block + 1 < blocks_.count()) SendOn(KeyOf(block, number), BytesOf(piece()));
}

void SumChain::Spread(size_t root, size_t number, const std::function<std::string()>& get,
                      const std::function<void(std::string_view)>& set) {
  if (Alone()) return;
  const uint64_t key = KeyOf(blocks_.count(), number);
  std::string bytes = share_->rank() == root ? get() : TakeFromBefore(key);
  if (share_->rank() != root) set(bytes);
  if ((share_->rank() + 1) % share_->size() != root) SendOn(key, std::move(bytes));
}

void SumChain::SpreadSum(size_t number, const std::function<SumPiece()>& piece) {
  Spread(
      blocks_.Owner(blocks_.count() - 1), number, [&] { return BytesOf(piece()); },
      [&](std::string_view bytes) { Fill(piece(), bytes); });
}

void SumChain::SendOn(uint64_t key, std::string bytes) {
  std::string message;
  message.reserve(sizeof(key) + bytes.size());
  Put(message, key);
  message += bytes;
  share_->Send((share_->rank() + 1) % share_->size(), std::move(message));
}

std::string SumChain::TakeFromBefore(uint64_t key) {
  const size_t before = (share_->rank() + share_->size() - 1) % share_->size();
  std::unique_lock lock(mutex_);
  for (;;) {
    if (const auto there = inbox_.find(key); there != inbox_.end()) {
      std::string bytes = std::move(there->second);
      inbox_.erase(there);
      return bytes;
    }
    if (receiving_) {
      arrived_.wait(lock);
      continue;
    }
    receiving_ = true;
    lock.unlock();
    std::string message;
    try {
      message = share_->Receive(before);
    } catch (...) {
      lock.lock();
      receiving_ = false;
      arrived_.notify_all();  // each of them learns of it itself
      throw;
    }
    lock.lock();
    receiving_ = false;
    std::string_view rest = message;
    uint64_t got = 0;
    QR_CHECK(Take(rest, got));
    inbox_[got] = rest;
    arrived_.notify_all();
  }
}

}  // namespace quantref
