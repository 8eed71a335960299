#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace quantref {

// A (rows, cols) weight matrix in a form that is read and never made: what its rows decode to and
// how many bits it takes is all that is known of it. For the blocks of other tools' files, which
// have no kernels and no rounder here. Safe to share between threads.
class EncodedMatrix {
 public:
  virtual ~EncodedMatrix() = default;

  virtual size_t rows() const = 0;
  virtual size_t cols() const = 0;

  // The row's weights in FP32, exactly as the form defines them; values.size() == cols().
  virtual void DecodeRow(size_t row, std::span<float> values) const = 0;

  virtual size_t StorageBits() const = 0;  // of all that is stored: codes, scales, padding
  virtual std::string Sha256() const = 0;  // of the form's name, the shape and what is stored
};

}  // namespace quantref
