#include "eval/ledger/ledger_items.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "eval/candidate/candidate.h"
#include "harness/base/check.h"

namespace quantref {
namespace {

constexpr char kCacheItem[] = "kv_cache";

bool Differs(const Linear& a, const Linear& b) {
  return !a.weight.SharesStorage(b.weight) || a.bias != b.bias || a.adapter != b.adapter ||
         a.activations.has_value() || b.activations.has_value();
}

bool Differs(const BlockWeights& a, const BlockWeights& b, const LedgerPlace& place) {
  if (place.cache) return true;
  return std::any_of(place.linears.begin(), place.linears.end(),
                     [&](LinearIndex i) { return Differs(a.linears[i], b.linears[i]); }) ||
         std::any_of(place.norms.begin(), place.norms.end(), [&](NormIndex i) {
           return a.norms[i] != b.norms[i] || a.norm_biases[i] != b.norm_biases[i];
         });
}

// Matrices of one block that stand or fall together, by their places in the layout, with the norms
// that share their scales.
struct MatrixGroup {
  std::vector<LinearIndex> linears;
  std::vector<NormIndex> norms;
};

// Sets of places that are joined step by step.
class JoinedPlaces {
 public:
  explicit JoinedPlaces(size_t count) : parent_(count) {
    std::iota(parent_.begin(), parent_.end(), size_t{0});
  }
  size_t Root(size_t place) const {
    while (parent_[place] != place) place = parent_[place];
    return place;
  }
  void Join(size_t a, size_t b) {
    const size_t one = Root(a), other = Root(b);
    parent_[std::max(one, other)] = std::min(one, other);
  }

 private:
  std::vector<size_t> parent_;
};

std::vector<MatrixGroup> MatrixGroups(const BlockLayout& layout, bool folds) {
  const std::vector<ScalingGroup> scaling =
      folds ? layout.ScalingGroups() : std::vector<ScalingGroup>();
  JoinedPlaces joined(layout.linears.size());
  for (const ScalingGroup& group : scaling) {
    const size_t first = layout.PositionOf(group.consumers.front());
    for (const LinearIndex consumer : group.consumers)
      joined.Join(first, layout.PositionOf(consumer));
    if (!group.of_norm())
      joined.Join(first, layout.PositionOf(std::get<LinearRows>(group.producer).linear));
  }
  std::map<size_t, MatrixGroup> groups;  // by the first matrix
  for (size_t i = 0; i < layout.linears.size(); ++i)
    groups[joined.Root(i)].linears.push_back(layout.linears[i].index);
  for (const ScalingGroup& group : scaling) {
    if (group.of_norm())
      groups[joined.Root(layout.PositionOf(group.consumers.front()))].norms.push_back(
          std::get<NormIndex>(group.producer));
  }
  std::vector<MatrixGroup> found;
  for (auto& [place, group] : groups) found.push_back(std::move(group));
  return found;
}

// "mlp.down_proj"; of several that are all of a module "mlp", else "self_attn.q_proj+k_proj".
std::string NameOfGroup(const BlockLayout& layout, const MatrixGroup& group) {
  const auto module_of = [](std::string_view name) { return name.substr(0, name.find('.')); };
  const std::string_view first = layout.row(group.linears.front()).name;
  if (group.linears.size() == 1) return std::string(first);
  const auto of_module =
      std::count_if(layout.linears.begin(), layout.linears.end(),
                    [&](const LinearRow& row) { return module_of(row.name) == module_of(first); });
  if (static_cast<size_t>(of_module) == group.linears.size() &&
      first.find('.') != std::string_view::npos)
    return std::string(module_of(first));
  std::string name(first);
  for (size_t i = 1; i < group.linears.size(); ++i) {
    const std::string_view other = layout.row(group.linears[i]).name;
    name += "+" + std::string(other.substr(other.rfind('.') + 1));
  }
  return name;
}

LedgerItem BlockItem(const BlockLayout& layout, size_t layer, bool cache) {
  LedgerPlace place{.layer = layer, .cache = cache};
  for (const LinearRow& row : layout.linears) place.linears.push_back(row.index);
  for (const NormRow& row : layout.norms) place.norms.push_back(row.index);
  return {.name = "layers." + std::to_string(layer),
          .of = LedgerItem::Of::kBlock,
          .places = {std::move(place)}};
}

void AddPlace(const std::string& name, LedgerPlace place, std::vector<LedgerItem>& kinds) {
  const auto known = std::find_if(kinds.begin(), kinds.end(),
                                  [&](const LedgerItem& kind) { return kind.name == name; });
  if (known != kinds.end()) return known->places.push_back(std::move(place));
  kinds.push_back({.name = name, .of = LedgerItem::Of::kKind, .places = {std::move(place)}});
}

// A tied head and its embedding are one matrix.
void AddEnds(const ModelWeights& reference, const ModelWeights& quantized,
             std::vector<LedgerItem>& items) {
  const bool embedding = Differs(quantized.embedding, reference.embedding);
  const bool head = Differs(quantized.head, reference.head) ||
                    quantized.final_norm != reference.final_norm ||
                    quantized.final_norm_bias != reference.final_norm_bias;
  const bool together = embedding && head && HeadIsTied(quantized);
  if (embedding)
    items.push_back(
        {.name = kEmbeddingName, .of = LedgerItem::Of::kEnd, .embedding = true, .head = together});
  if (head && !together)
    items.push_back({.name = kHeadName, .of = LedgerItem::Of::kEnd, .head = true});
}

}  // namespace

size_t LedgerItem::BlocksBefore(size_t blocks) const {
  if (embedding) return 0;
  return places.empty() ? blocks : places.front().layer;
}

const char* NameOf(LedgerItem::Of of) {
  switch (of) {
    case LedgerItem::Of::kBlock:
      return "block";
    case LedgerItem::Of::kKind:
      return "kind";
    case LedgerItem::Of::kEnd:
      break;
  }
  return "end";
}

std::vector<LedgerItem> LedgerItems(const ModelConfig& config, const ModelWeights& reference,
                                    const ModelWeights& quantized, bool folds) {
  const bool cache = quantized.kv_cache.has_value();
  std::vector<LedgerItem> items, kinds, caches;
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    const BlockLayout layout = LayoutOf(config, layer);
    const auto differs = [&](const LedgerPlace& place) {
      return Differs(quantized.blocks[layer], reference.blocks[layer], place);
    };
    LedgerItem block = BlockItem(layout, layer, cache);
    if (differs(block.places.front())) items.push_back(std::move(block));
    for (const MatrixGroup& group : MatrixGroups(layout, folds)) {
      LedgerPlace place{.layer = layer, .linears = group.linears, .norms = group.norms};
      if (differs(place)) AddPlace(NameOfGroup(layout, group), std::move(place), kinds);
    }
    if (cache) AddPlace(kCacheItem, {.layer = layer, .cache = true}, caches);
  }
  items.insert(items.end(), kinds.begin(), kinds.end());
  items.insert(items.end(), caches.begin(), caches.end());
  AddEnds(reference, quantized, items);
  return items;
}

SplicedModel Whole(const ModelWeights& weights) {
  return {weights, std::vector<bool>(weights.blocks.size(), weights.kv_cache.has_value()), {}};
}

SplicedModel Spliced(const ModelWeights& base, const ModelWeights& other, const LedgerItem& item) {
  SplicedModel model = Whole(base);
  for (const LedgerPlace& place : item.places) {
    BlockWeights& block = model.weights.blocks[place.layer];
    const BlockWeights& from = other.blocks[place.layer];
    for (const LinearIndex i : place.linears) block.linears[i] = from.linears[i];
    for (const NormIndex i : place.norms) {
      block.norms[i] = from.norms[i];
      block.norm_biases[i] = from.norm_biases[i];
    }
    if (place.cache) model.rounds_cache[place.layer] = other.kv_cache.has_value();
  }
  if (item.embedding) {
    model.weights.embedding = other.embedding;
    model.weights.positions = other.positions;
  }
  if (item.head) {
    model.weights.head = other.head;
    model.weights.final_norm = other.final_norm;
    model.weights.final_norm_bias = other.final_norm_bias;
  }
  return model;
}

std::string WhyNoBlocks(const GroupCell& cell) {
  if (!cell.method.model_transforms.empty())
    return "its method turns the whole model, so that its blocks read and write other channels "
           "than the reference's";
  if (cell.candidate != nullptr && cell.candidate->changed_norms > 0)
    return "its norms are others than the reference's, so that nothing tells whether its blocks "
           "read and write the same channels";
  return "";
}

}  // namespace quantref
