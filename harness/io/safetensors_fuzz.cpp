#include <cstddef>

#include "harness/base/check.h"
#include "harness/io/safetensors.h"
#include "harness/testing/fuzz.h"

namespace quantref {
namespace {

// Every tensor lies inside the file and is found by its name.
void Run(std::string_view input) {
  const testing::InputFile file(input);
  const SafetensorsFile opened = SafetensorsFile::Open(file.path());
  const std::byte* const begin = opened.file_bytes().data();
  const std::byte* const end = begin + opened.file_bytes().size();
  for (const Tensor& tensor : opened.tensors()) {
    size_t bytes = DTypeBytes(tensor.dtype);
    for (const size_t dimension : tensor.shape) bytes *= dimension;
    QR_CHECK_EQ(bytes, tensor.bytes);
    QR_CHECK(begin <= tensor.data && tensor.data <= end);
    QR_CHECK_LE(tensor.bytes, static_cast<size_t>(end - tensor.data));
    QR_CHECK(opened.Find(tensor.name) == &tensor);
  }
}

const testing::AddFuzzTarget target({"harness/io", "safetensors", Run});

}  // namespace
}  // namespace quantref
