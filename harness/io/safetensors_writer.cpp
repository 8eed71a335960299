#include "harness/io/safetensors_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "harness/base/align.h"
#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/io/binary.h"

namespace quantref {
namespace {

// The tensors' places follow one another.
std::string HeaderOf(const std::vector<TensorToWrite>& tensors,
                     const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t end = 0;
  for (const TensorToWrite& tensor : tensors) {
    const size_t begin = end;
    end += tensor.bytes();
    QR_CHECK(!header.contains(tensor.name));
    header[tensor.name] = {{"dtype", DTypeName(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  constexpr size_t kAlignment = 8;
  text.resize(RoundUp(text.size(), kAlignment), ' ');
  return text;
}

}  // namespace

size_t TensorToWrite::bytes() const {
  size_t bytes = DTypeBytes(dtype);
  for (const size_t size : shape) bytes *= size;
  return bytes;
}

void WriteSafetensors(const std::filesystem::path& path, std::vector<TensorToWrite> tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    return std::make_tuple(DTypeBytes(b.dtype), std::cref(a.name)) <
           std::make_tuple(DTypeBytes(a.dtype), std::cref(b.name));
  });
  const std::string header = HeaderOf(tensors, metadata);
  std::string start;
  Put(start, uint64_t{header.size()});
  WriteFileAtomically(
      path,
      [&](const ByteSink& sink) {
        sink(start);
        sink(header);
        for (const TensorToWrite& tensor : tensors) {
          size_t written = 0;
          tensor.write([&](std::string_view bytes) {
            ThrowIfCancelled();
            written += bytes.size();
            sink(bytes);
          });
          QR_CHECK_EQ(written, tensor.bytes());
        }
      },
      false);
}

}  // namespace quantref
