#include <cstddef>
#include <cstdint>

#include "harness/base/check.h"
#include "harness/io/gguf.h"
#include "harness/io/gguf_names.h"
#include "harness/testing/fuzz.h"

namespace quantref {
namespace {

template <typename F>
void Try(const F& read) {
  try {
    read();
  } catch (const Error&) {
  }
}

// Every tensor lies inside the file, where its type may, and is found by its name; every key can be
// asked for in every way.
void FuzzGguf(std::string_view input) {
  const testing::InputFile file(input);
  const GgufFile opened = GgufFile::Open(file.path());
  const std::byte* const begin = opened.file().bytes().data();
  const std::byte* const end = begin + opened.file().bytes().size();
  for (const Tensor& tensor : opened.tensors()) {
    const GgmlTypeRow& type = GgmlRow(tensor.blocks);
    size_t elements = 1;
    for (const size_t dimension : tensor.shape) elements *= dimension;
    QR_CHECK_EQ(elements / type.elements * type.bytes, tensor.bytes);
    QR_CHECK(begin <= tensor.data && tensor.data <= end);
    QR_CHECK_LE(tensor.bytes, static_cast<size_t>(end - tensor.data));
    QR_CHECK_EQ(reinterpret_cast<uintptr_t>(tensor.data) % 8, 0u);
    QR_CHECK(opened.Find(tensor.name) == &tensor);
  }
  for (const auto& entry : opened.values()) {
    const std::string_view key = entry.first;
    Try([&] { opened.Count(key); });
    Try([&] { opened.Number(key); });
    Try([&] { opened.Bool(key); });
    Try([&] { opened.Text(key); });
    Try([&] { opened.Texts(key); });
    Try([&] { opened.Floats(key); });
    Try([&] { opened.Integers(key); });
  }
  QR_CHECK_LE(AsTransformers(opened, opened).size(), opened.tensors().size());
}

const testing::AddFuzzTarget gguf_target({"harness/io", "gguf", FuzzGguf});

}  // namespace
}  // namespace quantref
