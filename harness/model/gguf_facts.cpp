#include "harness/model/gguf_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <optional>
#include <string_view>

namespace quantref {
namespace {

// The block that a tensor belongs to; nothing for those of no block.
std::optional<size_t> LayerOf(std::string_view name) {
  constexpr std::string_view kBlocks = "model.layers.";
  if (!name.starts_with(kBlocks)) return std::nullopt;
  size_t layer = 0;
  const char* const end = name.data() + name.size();
  const auto read = std::from_chars(name.data() + kBlocks.size(), end, layer);
  constexpr size_t kMostLayers = 1 << 12;
  if (read.ec != std::errc() || layer >= kMostLayers) return std::nullopt;
  return layer;
}

struct Count {
  double bits = 0, weights = 0;
  void Add(const Tensor& tensor) {
    bits += 8 * static_cast<double>(tensor.bytes);
    weights += static_cast<double>(tensor.shape[0] * tensor.shape[1]);
  }
  double Mean() const { return weights == 0 ? 0 : bits / weights; }
};

}  // namespace

GgufFacts DescribeGguf(const Checkpoint& checkpoint) {
  GgufFacts facts;
  if (checkpoint.gguf() == nullptr) return facts;
  facts.architecture = checkpoint.gguf()->Text("general.architecture").value_or("");
  std::map<std::string, GgufFacts::Type> types;
  std::map<size_t, Count> layers;
  Count all;
  for (const std::string& name : checkpoint.names()) {
    const Tensor& tensor = checkpoint.Get(name);
    if (tensor.shape.size() != 2) continue;
    GgufFacts::Type& type = types[std::string(tensor.type_name())];
    type.name = tensor.type_name();
    ++type.matrices;
    type.weights += tensor.shape[0] * tensor.shape[1];
    facts.quantized |= tensor.dtype == DType::kBlocks;
    all.Add(tensor);
    if (const auto layer = LayerOf(name)) layers[*layer].Add(tensor);
  }
  for (auto& [name, type] : types) facts.types.push_back(std::move(type));
  std::ranges::stable_sort(facts.types, std::ranges::greater(), &GgufFacts::Type::weights);
  facts.bits = all.Mean();
  for (const auto& [layer, count] : layers) facts.layer_bits.push_back(count.Mean());
  return facts;
}

std::string GgufFacts::Summary() const {
  std::string names;
  for (const Type& type : types) names += (names.empty() ? "" : ", ") + type.name;
  return fmt::format("{}; {:.2f} bits a weight", names, bits);
}

}  // namespace quantref
