#include "harness/base/huge_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace quantref {

std::shared_ptr<uint8_t> AllocateHuge(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20, kLine = 64;
  const size_t unit = bytes >= kHugePage ? kHugePage : kLine;
  const size_t rounded = (bytes + unit - 1) / unit * unit;
  auto* data = static_cast<uint8_t*>(std::aligned_alloc(unit, rounded));
  if (data == nullptr && rounded > 0) throw std::bad_alloc();
  if (unit == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);  // a hint: it may be refused
  if (rounded > 0) std::memset(data, 0, rounded);
  return {data, [](uint8_t* p) { std::free(p); }};
}

}  // namespace quantref
