#include "harness/io/gguf_reader.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/json_file.h"
#include "harness/io/foreign.h"

namespace quantref {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr size_t kMostDimensions = 4, kLongestKey = 65535, kLongestTensorName = 64;
constexpr uint64_t kDefaultAlignment = 32, kMostAlignment = 1 << 20;
// What a key and a tensor take at least: lengths of names, types, one byte of value; one dimension,
// its place.
constexpr size_t kLeastKeyBytes = 8 + 4 + 1, kLeastTensorBytes = 8 + 4 + 8 + 4 + 8;

template <typename T>
T NumberIn(const std::byte* bytes) {
  T number;
  std::memcpy(&number, bytes, sizeof(T));
  return number;
}

// Bytes of a value's type; 0 for strings and arrays.
size_t FixedBytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

GgufValue ValueIn(GgufType type, const std::byte* bytes) {
  const auto whole = [](uint64_t number) { return GgufValue(number); };
  const auto with_sign = [](int64_t number) { return GgufValue(number); };
  switch (type) {
    case GgufType::kU8:
      return whole(NumberIn<uint8_t>(bytes));
    case GgufType::kI8:
      return with_sign(NumberIn<int8_t>(bytes));
    case GgufType::kU16:
      return whole(NumberIn<uint16_t>(bytes));
    case GgufType::kI16:
      return with_sign(NumberIn<int16_t>(bytes));
    case GgufType::kU32:
      return whole(NumberIn<uint32_t>(bytes));
    case GgufType::kI32:
      return with_sign(NumberIn<int32_t>(bytes));
    case GgufType::kU64:
      return whole(NumberIn<uint64_t>(bytes));
    case GgufType::kI64:
      return with_sign(NumberIn<int64_t>(bytes));
    case GgufType::kF32:
      return NumberIn<float>(bytes);
    case GgufType::kF64:
      return NumberIn<double>(bytes);
    default:
      QR_CHECK(type == GgufType::kBool);
      return bytes[0] != std::byte{0};
  }
}

// The file from its start on.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string where)
      : bytes_(bytes), where_(std::move(where)) {}

  size_t at() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }
  const std::string& where() const { return where_; }

  std::span<const std::byte> Take(uint64_t count, std::string_view what) {
    if (count > left()) {
      throw Error("cut short: expected " + std::to_string(count) + " bytes of " +
                      std::string(what) + ", found " + std::to_string(left()) +
                      " until the end of the file",
                  where_, "download or copy the file again");
    }
    at_ += count;
    return bytes_.subspan(at_ - count, count);
  }
  template <typename T>
  T Number(std::string_view what) {
    return NumberIn<T>(Take(sizeof(T), what).data());
  }
  std::string_view Text(std::string_view what) {
    const auto length = Number<uint64_t>(what);
    const std::span<const std::byte> text = Take(length, what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  // How many things follow that take at least so many bytes each.
  size_t CountOf(uint64_t count, size_t least_bytes, const std::string& what) const {
    if (count <= left() / least_bytes) return count;
    throw Error("expected at most " + std::to_string(left() / least_bytes) + " " + what +
                    ", for which the file has room, found the count " + std::to_string(count),
                where_, "the file is damaged");
  }

 private:
  std::span<const std::byte> bytes_;
  std::string where_;
  size_t at_ = 0;
};

GgufType ReadType(Cursor& cursor, const std::string& what) {
  const auto number = cursor.Number<uint32_t>("the type of " + what);
  if (number <= static_cast<uint32_t>(GgufType::kF64)) return static_cast<GgufType>(number);
  throw Error("expected a type from 0 to 12 for " + what + ", found " + std::to_string(number),
              cursor.where());
}

void CheckBools(std::span<const std::byte> bytes, const std::string& what, const Cursor& cursor) {
  for (const std::byte byte : bytes) {
    if (byte > std::byte{1}) {
      throw Error(
          "expected 0 or 1 for " + what + ", found " + std::to_string(std::to_integer<int>(byte)),
          cursor.where());
    }
  }
}

GgufArray ReadArray(Cursor& cursor, const std::string& what) {
  const GgufType elements = ReadType(cursor, "the elements of " + what);
  const auto stated = cursor.Number<uint64_t>("the count of " + what);
  if (elements == GgufType::kArray) {
    throw Error("expected numbers or strings in " + what + ", found arrays", cursor.where(),
                "arrays of arrays are not supported");
  }
  constexpr size_t kLeastString = 8;
  const bool strings = elements == GgufType::kString;
  const size_t least = strings ? kLeastString : FixedBytes(elements);
  GgufArray array{elements, cursor.CountOf(stated, least, "elements of " + what), {}};
  if (!strings) {
    array.bytes = cursor.Take(array.count * least, what);
    if (elements == GgufType::kBool) CheckBools(array.bytes, what, cursor);
    return array;
  }
  Cursor ahead = cursor;
  for (size_t i = 0; i < array.count; ++i) ahead.Text(what);
  array.bytes = cursor.Take(ahead.at() - cursor.at(), what);
  return array;
}

GgufValue ReadValue(Cursor& cursor, const std::string& what) {
  const GgufType type = ReadType(cursor, what);
  if (type == GgufType::kString) return cursor.Text(what);
  if (type == GgufType::kArray) return ReadArray(cursor, what);
  const std::span<const std::byte> bytes = cursor.Take(FixedBytes(type), what);
  if (type == GgufType::kBool) CheckBools(bytes, what, cursor);
  return ValueIn(type, bytes.data());
}

void ReadValues(Cursor& cursor, size_t count, std::map<std::string_view, GgufValue>& values) {
  for (size_t i = 0; i < count; ++i) {
    const std::string_view key = cursor.Text("a key's name");
    if (key.empty() || key.size() > kLongestKey) {
      throw Error("expected keys of 1 to " + std::to_string(kLongestKey) + " bytes, found one of " +
                      std::to_string(key.size()),
                  cursor.where());
    }
    const GgufValue value = ReadValue(cursor, "the key " + Quoted(key));
    if (!values.emplace(key, value).second)
      throw Error("expected the key " + Quoted(key) + " once, found it again", cursor.where());
  }
}

std::optional<DType> PlainType(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return DType::kF32;
    case GgmlType::kF16:
      return DType::kF16;
    case GgmlType::kBf16:
      return DType::kBF16;
    case GgmlType::kF64:
      return DType::kF64;
    case GgmlType::kI8:
      return DType::kI8;
    case GgmlType::kI16:
      return DType::kI16;
    case GgmlType::kI32:
      return DType::kI32;
    case GgmlType::kI64:
      return DType::kI64;
    default:
      return std::nullopt;
  }
}

// What the list says of a tensor; `offset` counts from the data's start.
struct Listed {
  Tensor tensor;
  uint64_t offset;
};

// The tensor's bytes, rows of whole blocks.
size_t TensorBytes(const Tensor& tensor, const GgmlTypeRow& type, const std::string& where) {
  const size_t cols = tensor.shape.back();
  if (cols % type.elements != 0) {
    throw Error("expected rows of whole blocks of " + std::string(type.name) + " (" +
                    std::to_string(type.elements) + " elements), found " + std::to_string(cols) +
                    " columns",
                where);
  }
  size_t elements = 1, bytes = type.bytes;
  bool fits = !__builtin_mul_overflow(bytes, cols / type.elements, &bytes);
  for (const size_t dimension : tensor.shape)
    fits &= !__builtin_mul_overflow(elements, dimension, &elements);
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i)
    fits &= !__builtin_mul_overflow(bytes, tensor.shape[i], &bytes);
  if (!fits) throw Error("expected a shape of fewer than 2^64 elements and bytes", where);
  return bytes;
}

std::vector<size_t> ReadShape(Cursor& cursor, const std::string& where) {
  const auto dimensions = cursor.Number<uint32_t>("a tensor's number of dimensions");
  if (dimensions < 1 || dimensions > kMostDimensions) {
    throw Error("expected 1 to 4 dimensions, found " + std::to_string(dimensions), where);
  }
  std::vector<size_t> shape(dimensions);
  for (uint32_t i = 0; i < dimensions; ++i) {
    shape[dimensions - 1 - i] = cursor.Number<uint64_t>("a tensor's shape");
  }
  if (std::ranges::count(shape, 0u) > 0)
    throw Error("expected dimensions of at least 1, found 0", where);
  return shape;
}

Listed ReadTensorInfo(Cursor& cursor) {
  const std::string_view name = cursor.Text("a tensor's name");
  if (name.empty() || name.size() > kLongestTensorName) {
    throw Error(
        "expected tensors' names of 1 to 64 bytes, found one of " + std::to_string(name.size()),
        cursor.where());
  }
  const std::string where = cursor.where() + ", tensor " + Quoted(name);
  Listed listed{{std::string(name), DType::kBlocks, ReadShape(cursor, where), nullptr, 0}, 0};
  const auto number = cursor.Number<uint32_t>("a tensor's type");
  listed.offset = cursor.Number<uint64_t>("a tensor's place");
  const GgmlTypeRow* const type = FindGgmlType(number);
  if (type == nullptr) {
    throw Error(
        "expected a type of tensors that ggml has, found " + DescribeForeignGgmlType(number), where,
        "convert the model with llama.cpp to another type");
  }
  listed.tensor.blocks = type->type;
  listed.tensor.dtype = PlainType(type->type).value_or(DType::kBlocks);
  listed.tensor.bytes = TensorBytes(listed.tensor, *type, where);
  return listed;
}

uint64_t AlignmentOf(const std::map<std::string_view, GgufValue>& values,
                     const std::string& where) {
  const auto found = values.find("general.alignment");
  if (found == values.end()) return kDefaultAlignment;
  const auto* const alignment = std::get_if<uint64_t>(&found->second);
  const bool usable = alignment != nullptr && *alignment >= 8 && *alignment <= kMostAlignment &&
                      (*alignment & (*alignment - 1)) == 0;
  if (usable) return *alignment;
  throw Error("expected a power of two from 8 to 2^20 as general.alignment, found " +
                  (alignment == nullptr ? "another type" : std::to_string(*alignment)),
              where);
}

// Puts the tensors to their places in the data.
void PlaceTensors(std::vector<Listed>& listed, std::span<const std::byte> data, uint64_t alignment,
                  const std::string& where) {
  std::ranges::sort(listed, {}, &Listed::offset);
  uint64_t end = 0;
  for (Listed& entry : listed) {
    const std::string at = where + ", tensor " + Quoted(entry.tensor.name);
    if (entry.offset % alignment != 0) {
      throw Error("expected a place at a multiple of " + std::to_string(alignment) + ", found " +
                      std::to_string(entry.offset),
                  at);
    }
    if (entry.offset < end) {
      throw Error("overlap in the data: expected a place from " + std::to_string(end) +
                      " on, found " + std::to_string(entry.offset),
                  at);
    }
    if (entry.offset > data.size() || entry.tensor.bytes > data.size() - entry.offset) {
      throw Error("cut short: expected " + std::to_string(entry.tensor.bytes) +
                      " bytes of data from " + std::to_string(entry.offset) + " on, found " +
                      std::to_string(data.size()) + " bytes of data in the file",
                  at, "download or copy the file again");
    }
    entry.tensor.data = data.data() + entry.offset;
    end = entry.offset + entry.tensor.bytes;
  }
}

void CheckStart(Cursor& cursor, std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kMagic)) {
    RefuseForeign(text, "a GGUF file", cursor.where());
    throw Error(
        "expected a GGUF file, found " + Quoted(text.substr(0, kMagic.size())) + " at its start",
        cursor.where(), "check the path of the model");
  }
  cursor.Take(kMagic.size(), "the format's name");
  const auto version = cursor.Number<uint32_t>("the version");
  if (version == 2 || version == 3) return;
  constexpr uint32_t kVersion3Swapped = 0x03000000, kVersion2Swapped = 0x02000000;
  const bool swapped = version == kVersion3Swapped || version == kVersion2Swapped;
  throw Error("expected version 2 or 3 of GGUF, found " +
                  (swapped ? "a big-endian file" : std::to_string(version)),
              cursor.where(), "convert the model again with a llama.cpp of today");
}

std::vector<Tensor> InOrderOfNames(std::vector<Listed> listed, const std::string& where) {
  std::vector<Tensor> tensors;
  for (Listed& entry : listed) tensors.push_back(std::move(entry.tensor));
  std::ranges::sort(tensors, {}, &Tensor::name);
  const auto twice = std::ranges::adjacent_find(tensors, {}, &Tensor::name);
  if (twice != tensors.end())
    throw Error("expected tensor " + Quoted(twice->name) + " once, found it again", where);
  return tensors;
}

}  // namespace

GgufContents ReadGguf(std::span<const std::byte> bytes, const std::string& where) {
  Cursor cursor(bytes, where);
  CheckStart(cursor, bytes);
  const auto tensors = cursor.Number<uint64_t>("the number of tensors");
  const auto keys = cursor.Number<uint64_t>("the number of keys");
  GgufContents contents;
  ReadValues(cursor, cursor.CountOf(keys, kLeastKeyBytes, "keys"), contents.values);
  std::vector<Listed> listed;
  const size_t count = cursor.CountOf(tensors, kLeastTensorBytes, "tensors");
  for (size_t i = 0; i < count; ++i) listed.push_back(ReadTensorInfo(cursor));
  contents.header_bytes = cursor.at();
  const uint64_t alignment = AlignmentOf(contents.values, where);
  // A file without tensors may end before the padding does.
  const uint64_t start =
      std::min<uint64_t>((cursor.at() + alignment - 1) / alignment * alignment, bytes.size());
  PlaceTensors(listed, bytes.subspan(start), alignment, where);
  contents.tensors = InOrderOfNames(std::move(listed), where);
  return contents;
}

std::vector<std::string_view> StringsOf(const GgufArray& array) {
  QR_CHECK(array.elements == GgufType::kString);
  Cursor cursor(array.bytes, "");
  std::vector<std::string_view> texts;
  texts.reserve(array.count);
  for (size_t i = 0; i < array.count; ++i) texts.push_back(cursor.Text("a string"));
  return texts;
}

GgufValue NumberAt(const GgufArray& array, size_t index) {
  QR_CHECK_LT(index, array.count);
  const size_t bytes = FixedBytes(array.elements);
  return ValueIn(array.elements, array.bytes.data() + index * bytes);
}

}  // namespace quantref
