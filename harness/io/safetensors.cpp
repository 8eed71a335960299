#include "harness/io/safetensors.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/foreign.h"
#include "harness/io/json_fields.h"
#include "harness/io/json_file.h"

namespace quantref {

namespace {

using nlohmann::json;

constexpr size_t kSizeBytes = 8;                   // the header size in front of the header
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

std::string AllDTypeNames() {
  std::string names;
  for (const DTypeRow& row : DTypes()) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

// a * b, or nothing if it does not fit.
std::optional<size_t> Product(size_t a, size_t b) {
  size_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// Reads and checks the header of one file.
class HeaderReader {
 public:
  explicit HeaderReader(const MappedFile& file)
      : where_(file.path().string()), bytes_(file.bytes()) {}

  std::vector<Tensor> Read() {
    const json header = ParseHeader();
    std::vector<Tensor> tensors;
    for (const auto& [name, info] : header.items()) {
      if (name == "__metadata__") {
        CheckMetadata(info);
      } else {
        tensors.push_back(ReadTensor(name, info));
      }
    }
    CheckCoverage(tensors);
    return tensors;
  }

 private:
  // A tensor's place, relative to the data section.
  struct Extent {
    size_t begin, end;
  };

  std::string At(const std::string& name) const { return where_ + ", tensor " + Quoted(name); }
  Extent ExtentOf(const Tensor& tensor) const {
    const auto begin = static_cast<size_t>(tensor.data - data_.data());
    return {begin, begin + tensor.bytes};
  }

  json ParseHeader();
  void CheckMetadata(const json& metadata) const;
  Tensor ReadTensor(const std::string& name, const json& info) const;
  DType ReadDType(const JsonFields& fields) const;
  Extent ReadOffsets(const JsonFields& fields) const;
  size_t BytesOf(const Tensor& tensor) const;
  void CheckCoverage(const std::vector<Tensor>& tensors) const;

  std::string where_;
  std::span<const std::byte> bytes_;
  std::span<const std::byte> data_;  // set by ParseHeader
};

json HeaderReader::ParseHeader() {
  if (bytes_.size() < kSizeBytes) {
    throw Error("cut short: expected at least 8 bytes (the header size), found " +
                    std::to_string(bytes_.size()),
                where_, "download or copy the file again");
  }
  uint64_t size = 0;
  for (size_t i = 0; i < kSizeBytes; ++i) size |= std::to_integer<uint64_t>(bytes_[i]) << (8 * i);
  const std::string_view text(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
  RefuseForeign(text, "a safetensors file", where_);
  if (size == 0) throw Error("expected a header, found the header size 0", where_);
  if (size > kMaxHeaderBytes) {
    throw Error("expected a header of at most 100000000 bytes, found the header size " +
                    std::to_string(size),
                where_, "this may not be a safetensors file");
  }
  if (size > bytes_.size() - kSizeBytes) {
    throw Error("cut short: expected a header of " + std::to_string(size) + " bytes, found " +
                    std::to_string(bytes_.size() - kSizeBytes) + " bytes after the header size",
                where_, "download or copy the file again");
  }
  const std::string_view header = text.substr(kSizeBytes, size);
  if (header[0] != '{') {
    throw Error("expected a header that starts with '{', found " + Quoted(header.substr(0, 1)),
                where_, "this may not be a safetensors file");
  }
  data_ = bytes_.subspan(kSizeBytes + size);
  return ParseJson(header, where_ + ", header");
}

void HeaderReader::CheckMetadata(const json& metadata) const {
  const std::string where = where_ + ", __metadata__";
  if (!metadata.is_object()) {
    throw Error("expected a map of strings, found " + ShownJson(metadata), where);
  }
  for (const auto& [key, value] : metadata.items()) {
    if (!value.is_string()) {
      throw Error("expected a string for the key " + Quoted(key) + ", found " + ShownJson(value),
                  where);
    }
  }
}

Tensor HeaderReader::ReadTensor(const std::string& name, const json& info) const {
  const JsonFields fields(info, At(name));
  Tensor tensor{name, ReadDType(fields), fields.Counts("shape"), nullptr, 0};
  tensor.bytes = BytesOf(tensor);
  const Extent extent = ReadOffsets(fields);
  if (extent.end - extent.begin != tensor.bytes) {
    throw Error("expected " + std::to_string(tensor.bytes) + " bytes (shape times the size of " +
                    std::string(DTypeName(tensor.dtype)) + "), found data_offsets that span " +
                    std::to_string(extent.end - extent.begin),
                At(name));
  }
  tensor.data = data_.data() + extent.begin;
  return tensor;
}

DType HeaderReader::ReadDType(const JsonFields& fields) const {
  const std::string text = fields.Text("dtype");
  const auto row = std::ranges::find(DTypes(), std::string_view(text), &DTypeRow::name);
  if (row == DTypes().end()) {
    throw Error("unknown dtype: expected one of " + AllDTypeNames() + "; found " + Quoted(text),
                fields.where());
  }
  return row->dtype;
}

HeaderReader::Extent HeaderReader::ReadOffsets(const JsonFields& fields) const {
  const std::vector<uint64_t> offsets = fields.Counts("data_offsets");
  if (offsets.size() != 2) {
    throw Error("expected 2 data_offsets (begin, end), found " + std::to_string(offsets.size()),
                fields.where());
  }
  const Extent extent{offsets[0], offsets[1]};
  if (extent.begin > extent.end) {
    throw Error("expected data_offsets with begin <= end, found begin " +
                    std::to_string(extent.begin) + " and end " + std::to_string(extent.end),
                fields.where());
  }
  if (extent.end > data_.size()) {
    throw Error("cut short: expected data up to data_offsets end " + std::to_string(extent.end) +
                    ", found " + std::to_string(data_.size()) + " bytes of data in the file",
                fields.where(), "download or copy the file again");
  }
  return extent;
}

size_t HeaderReader::BytesOf(const Tensor& tensor) const {
  std::optional<size_t> bytes = DTypeBytes(tensor.dtype);
  for (const size_t dimension : tensor.shape) {
    if (bytes) bytes = Product(*bytes, dimension);
  }
  if (!bytes) {
    throw Error("expected a shape of fewer than 2^64 bytes, found " + ShownJson(json(tensor.shape)),
                At(tensor.name));
  }
  return *bytes;
}

void HeaderReader::CheckCoverage(const std::vector<Tensor>& tensors) const {
  std::vector<const Tensor*> in_order;
  for (const Tensor& tensor : tensors) in_order.push_back(&tensor);
  // Empty tensors come before the one that starts at the same byte.
  std::ranges::sort(in_order, {}, [](const Tensor* tensor) {
    return std::pair(tensor->data, tensor->data + tensor->bytes);
  });
  size_t covered = 0;
  std::string before = "the start of the data";
  for (const Tensor* tensor : in_order) {
    const Extent extent = ExtentOf(*tensor);
    if (extent.begin != covered) {
      throw Error(std::string(extent.begin < covered ? "overlap" : "hole") +
                      " in the data: expected begin " + std::to_string(covered) + ", where " +
                      before + " ends, found " + std::to_string(extent.begin),
                  At(tensor->name));
    }
    covered = extent.end;
    before = "tensor " + Quoted(tensor->name);
  }
  if (covered != data_.size()) {
    throw Error("bytes that belong to no tensor: expected " + std::to_string(covered) +
                    " bytes of data, found " + std::to_string(data_.size()),
                where_);
  }
}

bool IsAligned(const Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.data) % DTypeBytes(tensor.dtype) == 0;
}

}  // namespace

SafetensorsFile SafetensorsFile::Open(const std::filesystem::path& path) {
  SafetensorsFile opened{MappedFile(path)};
  opened.tensors_ = HeaderReader(opened.file_).Read();
  opened.CopyUnaligned();
  return opened;
}

void SafetensorsFile::CopyUnaligned() {
  for (Tensor& tensor : tensors_) {
    if (tensor.bytes == 0 || IsAligned(tensor)) continue;
    Matrix<std::byte>& copy = copies_.emplace_back(1, tensor.bytes);
    std::copy_n(tensor.data, tensor.bytes, copy.data());
    tensor.data = copy.data();
    copied_bytes_ += tensor.bytes;
  }
}

const Tensor* SafetensorsFile::Find(std::string_view name) const {
  // In name order: the parser keeps the keys of an object sorted.
  const auto place = std::ranges::lower_bound(tensors_, name, {}, &Tensor::name);
  return place != tensors_.end() && place->name == name ? &*place : nullptr;
}

}  // namespace quantref
