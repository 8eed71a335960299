#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/accuracy/subject.h"
#include "harness/model/rope.h"
#include "harness/model/transformer.h"

namespace quantref {

// Models that are put together of a model's blocks and another's, all of one config, measured
// beside the model that most of their blocks are of. What begins as that model does, does not go
// through its beginning again: it goes on from the input of its first block that is another.

// What they have in common.
struct SpliceShape {
  SpliceShape(const ModelConfig& model, std::optional<KvScheme> rounding, size_t most_tokens);

  const ModelConfig config;
  const std::optional<KvScheme> kv_cache;  // by which blocks round keys and values that do
  const size_t max_tokens;
  const RopeTables ropes;
};

struct SplicedModel {
  ModelWeights weights;            // whose kv_cache is not looked at:
  std::vector<bool> rounds_cache;  // [block]; where true SpliceShape::kv_cache is its own
  std::string name{};              // as Subject's
};

class SplicedSubject : public Subject {
 public:
  // A model as it is, whose readers keep the inputs of its blocks for those that follow in the same
  // Memory: (blocks + 1) * tokens * hidden FP32 numbers of the window that was read last.
  SplicedSubject(const SpliceShape& shape, SplicedModel model)
      : SplicedSubject(shape, std::move(model), nullptr, 0) {}
  // One with `shared` blocks at the front, and the embedding, in common with the trunk, which was
  // made by the constructor above. Its readers read only what the trunk's of the same Memory have
  // read just before. The shape and the trunk must outlive it.
  SplicedSubject(const SpliceShape& shape, SplicedModel model, const SplicedSubject* trunk,
                 size_t shared);

  const std::string& name() const override { return name_; }
  size_t vocabulary() const override { return shape_.config.vocab; }
  size_t context() const override { return shape_.config.context; }
  std::unique_ptr<Reader> MakeReader(std::shared_ptr<Memory>& memory, Team* team) const override;
  // None: nobody times it.
  std::unique_ptr<Decoder> MakeDecoder(size_t, Team*) const override { return nullptr; }

 private:
  class WindowReader;
  friend class WindowReader;

  const SpliceShape& shape_;
  const std::string name_;
  const std::vector<bool> rounds_cache_;
  const Transformer model_;  // for weights and logits
  const SplicedSubject* const trunk_;
  const size_t shared_;
};

}  // namespace quantref
