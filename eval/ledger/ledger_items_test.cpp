#include "eval/ledger/ledger_items.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/testing/tiny_models.h"

namespace quantref {
namespace {

using testing::TinyModels;
using Strings = std::vector<std::string>;

constexpr int kThreeBits[] = {3};

Strings NamesOf(const std::vector<LedgerItem>& items) {
  Strings names;
  for (const LedgerItem& item : items) names.push_back(item.name);
  return names;
}

class LedgerModels {
 public:
  explicit LedgerModels(const testing::TinyModel& shape) : models_(shape, kThreeBits, 8) {}
  const ModelWeights& reference() const { return models_.transformer(0).weights(); }
  ModelWeights quantized() const { return models_.transformer(1).weights(); }
  std::vector<LedgerItem> Items(const ModelWeights& quantized, bool folds) const {
    return LedgerItems(models_.config(), reference(), quantized, folds);
  }

 private:
  TinyModels models_;
};

TEST_CASE("ledger items: blocks, and kinds of matrices") {
  const LedgerModels models({});
  const std::vector<LedgerItem> items = models.Items(models.quantized(), false);
  CHECK(NamesOf(items) == Strings{"layers.0", "layers.1", "self_attn.q_proj", "self_attn.k_proj",
                                  "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                                  "mlp.up_proj", "mlp.down_proj"});
  CHECK(items[1].BlocksBefore(2) == 1);
  CHECK(items[2].BlocksBefore(2) == 0);
  CHECK(items[2].places.size() == 2);
}

TEST_CASE("ledger items: matrices that share folded scales are one kind, with their norms") {
  // With as many heads of values as of queries o's inputs are v's outputs; else nothing is folded
  // between them.
  const LedgerModels grouped({}), full({.kv_heads = 4});
  const std::vector<LedgerItem> apart = grouped.Items(grouped.quantized(), true);
  CHECK(NamesOf(apart) == Strings{"layers.0", "layers.1", "self_attn.q_proj+k_proj+v_proj",
                                  "self_attn.o_proj", "mlp"});
  CHECK(apart[2].places[0].norms == std::vector<NormIndex>{kAttentionNorm});
  CHECK(apart[3].places[0].norms.empty());
  CHECK(NamesOf(full.Items(full.quantized(), true)) ==
        Strings{"layers.0", "layers.1", "self_attn", "mlp"});
}

TEST_CASE("ledger items: what is as in the reference is none") {
  const LedgerModels models({});
  ModelWeights mixed = models.quantized();
  mixed.blocks[0] = models.reference().blocks[0];
  mixed.blocks[1].linears[kUp] = models.reference().blocks[1].linears[kUp];
  Matrix<float> turned = mixed.head.weight.Decode();
  mixed.head.weight = Weight(std::move(turned));
  const std::vector<LedgerItem> items = models.Items(mixed, false);
  CHECK(NamesOf(items) == Strings{"layers.1", "self_attn.q_proj", "self_attn.k_proj",
                                  "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                                  "mlp.down_proj", "lm_head"});
  CHECK(items.back().BlocksBefore(2) == 2);
  CHECK(models.Items(models.reference(), false).empty());

  ModelWeights cached = models.reference();
  cached.kv_cache = KvScheme{};
  CHECK(NamesOf(models.Items(cached, false)) == Strings{"layers.0", "layers.1", "kv_cache"});
}

TEST_CASE("ledger items: of a model with one tied matrix at both ends these are one item") {
  const LedgerModels models({.tied = true});
  ModelWeights quantized = models.quantized();
  quantized.embedding.weight = Weight(quantized.embedding.weight.Decode());
  quantized.head.weight = quantized.embedding.weight;
  const std::vector<LedgerItem> items = models.Items(quantized, false);
  CHECK(items.back().name == "embed_tokens");
  CHECK(items.back().head);
  CHECK(items.back().BlocksBefore(2) == 0);
  const SplicedModel alone = Spliced(models.reference(), quantized, items.back());
  CHECK(HeadIsTied(alone.weights));
  CHECK(alone.weights.head.weight.SharesStorage(quantized.head.weight));
}

TEST_CASE("ledger items: a splice takes what the item is of, and nothing else") {
  const LedgerModels models({});
  ModelWeights quantized = models.quantized();
  quantized.kv_cache = KvScheme{};
  const std::vector<LedgerItem> items = models.Items(quantized, false);
  const SplicedModel second = Spliced(models.reference(), quantized, items[1]);
  const auto of = [](const SplicedModel& model, size_t block, LinearIndex linear) {
    return model.weights.blocks[block].linears[linear].weight;
  };
  CHECK(of(second, 0, kQ).SharesStorage(models.reference().blocks[0].linears[kQ].weight));
  CHECK(of(second, 1, kDown).SharesStorage(quantized.blocks[1].linears[kDown].weight));
  CHECK(second.rounds_cache == std::vector<bool>{false, true});
  const SplicedModel rest = Spliced(quantized, models.reference(), items[2]);  // but q_proj
  CHECK(of(rest, 0, kQ).SharesStorage(models.reference().blocks[0].linears[kQ].weight));
  CHECK(of(rest, 1, kQ).SharesStorage(models.reference().blocks[1].linears[kQ].weight));
  CHECK(of(rest, 1, kK).SharesStorage(quantized.blocks[1].linears[kK].weight));
  CHECK(rest.rounds_cache == std::vector<bool>{true, true});
}

}  // namespace
}  // namespace quantref
