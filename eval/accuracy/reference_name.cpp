#include "eval/accuracy/reference_name.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "harness/kernels/thin_gemm.h"

namespace quantref {
namespace {

using Type = DenseRows::Type;
constexpr std::array kTypes = {Type::kFp16, Type::kBf16, Type::kFp32};

}  // namespace

std::string ReferenceName(const ModelWeights& weights) {
  std::array<size_t, kTypes.size()> counts{};
  for (const Linear* linear : AllLinears(weights)) {
    const auto dense = linear->weight.dense();
    if (dense) counts[static_cast<size_t>(dense->type)] += dense->rows * dense->cols;
  }
  std::vector<std::pair<size_t, Type>> found;
  for (const Type type : kTypes) {
    if (counts[static_cast<size_t>(type)] > 0)
      found.emplace_back(counts[static_cast<size_t>(type)], type);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string name;
  for (const auto& [count, type] : found) name += (name.empty() ? "" : "+") + DenseTypeName(type);
  return name;
}

}  // namespace quantref
