#pragma once

#include <string>
#include <vector>

#include "eval/accuracy/spliced_subject.h"
#include "eval/inputs/group_cell.h"
#include "harness/model/layout.h"

namespace quantref {

// What of a quantized model can be quantized alone, and left as it is alone: the second half of a
// ledger.

// Of one block.
struct LedgerPlace {
  size_t layer;
  std::vector<LinearIndex> linears{};
  std::vector<NormIndex> norms{};
  bool cache = false;  // its keys and values
};

struct LedgerItem {
  enum class Of { kBlock, kKind, kEnd };  // kEnd: embedding or head, beside both of the others

  std::string name;  // "layers.3", "mlp.down_proj", "kv_cache", "lm_head"
  Of of;
  std::vector<LedgerPlace> places{};  // by rising block
  bool embedding = false, head = false;

  // How many blocks at the front, with the embedding, it leaves as they are, of so many.
  size_t BlocksBefore(size_t blocks) const;
};
const char* NameOf(LedgerItem::Of of);  // "block", "kind", "end"

// The cell's blocks, then its kinds of matrices and the cache, then embedding and head, each where
// anything of it is other than the reference's. Of a method that folds scales from one matrix into
// another (`folds`) the matrices that share such scales are one kind, with the norms that do. Both
// models are of this config.
std::vector<LedgerItem> LedgerItems(const ModelConfig& config, const ModelWeights& reference,
                                    const ModelWeights& quantized, bool folds);

// The model as it is; and with what the item is of taken from another one.
SplicedModel Whole(const ModelWeights& weights);
SplicedModel Spliced(const ModelWeights& base, const ModelWeights& other, const LedgerItem& item);

// Why its blocks cannot stand in the reference, nor the reference's in it; "" where they can.
std::string WhyNoBlocks(const GroupCell& cell);

}  // namespace quantref
