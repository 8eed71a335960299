#include "harness/io/gguf_writer.h"

#include <utility>

#include "harness/base/align.h"
#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/io/binary.h"
#include "harness/io/gguf.h"

namespace quantref {
namespace {

constexpr size_t kPlaces = 32;  // tensors begin at multiples of so many bytes

size_t FilledUp(size_t bytes) { return RoundUp(bytes, kPlaces); }

uint32_t Numbered(GgufType type) { return static_cast<uint32_t>(type); }

void PutText(std::string& bytes, std::string_view text) {
  Put(bytes, uint64_t{text.size()});
  bytes += text;
}

}  // namespace

template <typename Number>
void GgufWriter::PutKey(std::string_view key, uint32_t type, const Number& number) {
  PutText(key_bytes_, key);
  Put(key_bytes_, type);
  Put(key_bytes_, number);
  ++keys_;
}

void GgufWriter::PutArray(std::string_view key, uint32_t type, size_t count) {
  PutKey(key, Numbered(GgufType::kArray), type);
  Put(key_bytes_, uint64_t{count});
}

void GgufWriter::U32(std::string_view key, uint64_t value) {
  QR_CHECK_LE(value, uint64_t{0xffffffff});
  PutKey(key, Numbered(GgufType::kU32), static_cast<uint32_t>(value));
}

void GgufWriter::F32(std::string_view key, double value) {
  PutKey(key, Numbered(GgufType::kF32), static_cast<float>(value));
}

void GgufWriter::Bool(std::string_view key, bool value) {
  PutKey(key, Numbered(GgufType::kBool), static_cast<uint8_t>(value));
}

void GgufWriter::Text(std::string_view key, std::string_view value) {
  PutKey(key, Numbered(GgufType::kString), uint64_t{value.size()});
  key_bytes_ += value;
}

void GgufWriter::Texts(std::string_view key, std::span<const std::string> values) {
  PutArray(key, Numbered(GgufType::kString), values.size());
  for (const std::string& value : values) PutText(key_bytes_, value);
}

void GgufWriter::Floats(std::string_view key, std::span<const float> values) {
  PutArray(key, Numbered(GgufType::kF32), values.size());
  for (const float value : values) Put(key_bytes_, value);
}

void GgufWriter::Integers(std::string_view key, std::span<const int32_t> values) {
  PutArray(key, Numbered(GgufType::kI32), values.size());
  for (const int32_t value : values) Put(key_bytes_, value);
}

void GgufWriter::Add(std::string name, GgmlType type, std::vector<size_t> shape,
                     std::function<void(const ByteSink& sink)> write) {
  const GgmlTypeRow& row = GgmlRow(type);
  QR_CHECK_EQ(shape.back() % row.elements, 0u);
  size_t bytes = shape.back() / row.elements * row.bytes;
  for (size_t i = 0; i + 1 < shape.size(); ++i) bytes *= shape[i];
  entries_.push_back({std::move(name), type, std::move(shape), std::move(write), bytes});
}

std::string GgufWriter::Header() const {
  std::string header = "GGUF";
  Put(header, uint32_t{3});
  Put(header, uint64_t{entries_.size()});
  Put(header, uint64_t{keys_});
  header += key_bytes_;
  size_t place = 0;
  for (const Entry& entry : entries_) {
    PutText(header, entry.name);
    Put(header, static_cast<uint32_t>(entry.shape.size()));
    for (auto size = entry.shape.rbegin(); size != entry.shape.rend(); ++size)
      Put(header, uint64_t{*size});
    Put(header, static_cast<uint32_t>(entry.type));
    Put(header, uint64_t{place});
    place += FilledUp(entry.bytes);
  }
  header.resize(FilledUp(header.size()), '\0');
  return header;
}

void GgufWriter::Write(const std::filesystem::path& path) const {
  WriteFileAtomically(
      path,
      [&](const ByteSink& sink) {
        sink(Header());
        for (const Entry& entry : entries_) {
          size_t written = 0;
          entry.write([&](std::string_view bytes) {
            ThrowIfCancelled();
            written += bytes.size();
            sink(bytes);
          });
          QR_CHECK_EQ(written, entry.bytes);
          sink(std::string(FilledUp(written) - written, '\0'));
        }
      },
      false);
}

}  // namespace quantref
