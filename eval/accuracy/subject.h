#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/team.h"

namespace quantref {

// What is measured, as accuracy and the stopwatch see it: something that takes token ids and gives
// logits. Ours is a transformer (transformer_subject.h); another engine behind a process can be
// another. Const and safe to share between threads; what a thread needs for itself are its readers
// and decoders.
class Subject {
 public:
  virtual ~Subject() = default;
  virtual const std::string& name() const = 0;  // for messages: "fp16", "int4_g128 rtn"
  virtual size_t vocabulary() const = 0;
  virtual size_t context() const = 0;  // the longest text in tokens

  // One window after the other, each from position 0.
  class Reader {
   public:
    virtual ~Reader() = default;
    // ids < vocabulary, no more than the subject was made for.
    virtual void Read(std::span<const uint32_t> ids) = 0;
    // logits (n, vocabulary) of positions [first, first + n) of the window that was read last:
    // position t predicts token t + 1. Same ids, same bits.
    virtual void Logits(size_t first, MatrixView<float> logits) = 0;
    // Of the window that was read last, how many input channels were outliers (OutlierRule), at
    // each of the places where the subject looks for them; empty where nothing is rounded so.
    virtual std::vector<uint32_t> OutlierChannels() const { return {}; }
  };
  // What readers of one thread, or team, share, who are used one at a time; the first makes it.
  struct Memory {
    virtual ~Memory() = default;
  };
  // On the team's threads (null: the calling one), which is that of all who share the memory.
  virtual std::unique_ptr<Reader> MakeReader(std::shared_ptr<Memory>& memory, Team* team) const = 0;

  // A text that grows, to the logits of its last position each time.
  class Decoder {
   public:
    virtual ~Decoder() = default;
    // Puts ids behind the first `kept` tokens of what there is.
    virtual void Extend(size_t kept, std::span<const uint32_t> ids) = 0;
  };
  // For texts of so many tokens at most, on the team's threads (null: the calling one).
  virtual std::unique_ptr<Decoder> MakeDecoder(size_t tokens, Team* team) const = 0;
};

}  // namespace quantref
