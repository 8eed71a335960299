#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/formats/foreign_folder.h"
#include "harness/io/tensor.h"

namespace quantref {

// What scales are stored in.
inline constexpr std::initializer_list<DType> kFloatTypes = {DType::kF16, DType::kBF16,
                                                             DType::kF32};

inline constexpr char kDamagedFile[] = "the file is damaged, or the tool that wrote it failed";

// The tensors "NAME.*" that a matrix is stored in: hands them out, checked, and remembers which.
// Every message says where, what was expected, and what was found.
class MatrixTensors {
 public:
  MatrixTensors(const ForeignFolder& folder, std::string name, size_t rows, size_t cols)
      : folder_(folder), name_(std::move(name)), rows_(rows), cols_(cols) {}

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  const std::string& name() const { return name_; }
  const std::string& where() const { return folder_.where; }

  const Tensor* Find(std::string_view part) const { return folder_.find(NameOf(part)); }
  // Whether NAME.weight is there in a type that weights are plain numbers in.
  bool IsPlain() const;

  // Throws Error where a list of modules that stay as they are, under one of these keys, names this
  // one, by its whole name or the end of it, as every tool has it: the codes are not to be there.
  void RequireUnlisted(std::initializer_list<const char*> keys) const;

  // NAME.PART of one of the types, in the shape. Throws Error where it is not there or another.
  const Tensor& Take(std::string_view part, std::initializer_list<DType> types,
                     const std::vector<size_t>& shape);
  // In one of the shapes, which say the same.
  const Tensor& TakeAny(std::string_view part, std::initializer_list<DType> types,
                        std::initializer_list<std::vector<size_t>> shapes);
  // Of one number, in whichever shape.
  const Tensor& TakeScalar(std::string_view part, std::initializer_list<DType> types);
  // A number that things are multiplied with or divided by: Error unless it is finite and positive.
  float TakePositive(std::string_view part, std::initializer_list<DType> types);

  // Of all that were taken, in the order of the calls.
  const std::vector<std::string>& names() const { return names_; }
  const std::vector<std::span<const std::byte>>& stored() const { return stored_; }

  [[noreturn]] void Fail(std::string_view part, const std::string& expected,
                         const std::string& found) const;

 private:
  std::string NameOf(std::string_view part) const { return name_ + "." + std::string(part); }
  const Tensor& Taken(std::string_view part, std::initializer_list<DType> types);

  const ForeignFolder& folder_;
  std::string name_;
  size_t rows_, cols_;
  std::vector<std::string> names_;
  std::vector<std::span<const std::byte>> stored_;
};

// The elements of a tensor of that type.
template <typename T>
std::span<const T> ElementsOf(const Tensor& tensor) {
  return {reinterpret_cast<const T*>(tensor.data), tensor.bytes / sizeof(T)};
}

inline bool IsE4m3Nan(uint8_t code) { return (code & 0x7f) == 0x7f; }

// Element i of a tensor of F32, F16, BF16 or F8_E4M3 numbers, or, of U8, the power of two 2^(byte -
// 127) of E8M0, where 255 is a NaN as it is in F8_E4M3.
float NumberAt(const Tensor& tensor, size_t i);

// The `bits` wide number that begins at that bit of the words, counted from the least significant
// bit of the first. Words are `stride` apart.
inline uint32_t BitsAt(const uint32_t* words, size_t stride, size_t at, size_t bits) {
  const size_t word = at / 32, shift = at % 32;
  uint64_t window = words[word * stride];
  if (shift + bits > 32) window |= uint64_t{words[(word + 1) * stride]} << 32;
  return static_cast<uint32_t>(window >> shift) & ((1u << bits) - 1);
}

// How many words hold so many numbers without a gap.
inline size_t WordsOf(size_t count, size_t bits) { return (count * bits + 31) / 32; }

}  // namespace quantref
