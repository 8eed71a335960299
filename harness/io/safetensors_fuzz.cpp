#include <cstddef>
#include <cstdint>

#include "harness/base/check.h"
#include "harness/io/safetensors.h"
#include "harness/testing/fuzz.h"

namespace quantref {
namespace {

// Every tensor is aligned, lies inside the file or is a copy of what does, and is found by its
// name.
void FuzzSafetensors(std::string_view input) {
  const testing::InputFile file(input);
  const SafetensorsFile opened = SafetensorsFile::Open(file.path());
  const std::byte* const begin = opened.file_bytes().data();
  const std::byte* const end = begin + opened.file_bytes().size();
  size_t copied = 0;
  for (const Tensor& tensor : opened.tensors()) {
    size_t bytes = DTypeBytes(tensor.dtype);
    for (const size_t dimension : tensor.shape) bytes *= dimension;
    QR_CHECK_EQ(bytes, tensor.bytes);
    const bool inside = begin <= tensor.data && tensor.data <= end &&
                        tensor.bytes <= static_cast<size_t>(end - tensor.data);
    if (!inside) copied += tensor.bytes;
    QR_CHECK(tensor.bytes == 0 ||
             reinterpret_cast<uintptr_t>(tensor.data) % DTypeBytes(tensor.dtype) == 0);
    QR_CHECK(opened.Find(tensor.name) == &tensor);
  }
  QR_CHECK_EQ(copied, opened.copied_bytes());
}

const testing::AddFuzzTarget safetensors_target({"harness/io", "safetensors", FuzzSafetensors});

}  // namespace
}  // namespace quantref
