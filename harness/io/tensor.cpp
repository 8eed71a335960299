#include "harness/io/tensor.h"

#include <algorithm>
#include <iterator>

#include "harness/base/check.h"

namespace quantref {
namespace {

constexpr DTypeRow kDTypes[] = {
    {DType::kBool, "BOOL", 1},      {DType::kU8, "U8", 1},          {DType::kI8, "I8", 1},
    {DType::kF8E4M3, "F8_E4M3", 1}, {DType::kF8E5M2, "F8_E5M2", 1}, {DType::kF8E8M0, "F8_E8M0", 1},
    {DType::kU16, "U16", 2},        {DType::kI16, "I16", 2},        {DType::kF16, "F16", 2},
    {DType::kBF16, "BF16", 2},      {DType::kU32, "U32", 4},        {DType::kI32, "I32", 4},
    {DType::kF32, "F32", 4},        {DType::kU64, "U64", 8},        {DType::kI64, "I64", 8},
    {DType::kF64, "F64", 8},        {DType::kC64, "C64", 8},
};

const DTypeRow& RowOfDType(DType dtype) {
  const auto row = std::ranges::find(kDTypes, dtype, &DTypeRow::dtype);
  QR_CHECK(row != std::end(kDTypes));
  return *row;
}

}  // namespace

std::span<const DTypeRow> DTypes() { return kDTypes; }

std::string_view DTypeName(DType dtype) { return RowOfDType(dtype).name; }

size_t DTypeBytes(DType dtype) { return RowOfDType(dtype).bytes; }

std::string_view Tensor::type_name() const {
  return dtype == DType::kBlocks ? GgmlRow(blocks).name : DTypeName(dtype);
}

}  // namespace quantref
