#pragma once

#include <span>
#include <string>
#include <vector>

#include "eval/accuracy/transformer_subject.h"
#include "eval/text/protocol.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref::testing {

// A reference with random weights and RTN copies of it at the given bits, for tests of what
// compares models.
class TinyModels {
 public:
  TinyModels(const TinyModel& shape, std::span<const int> bits, size_t max_tokens);

  std::vector<const Subject*> pointers() const;
  const Transformer& transformer(size_t model) const { return models_[model]; }
  const ModelConfig& config() const { return models_.front().config(); }

 private:
  TempDir dir_;
  std::vector<Transformer> models_;  // the reference first
  std::vector<TransformerSubject> subjects_;
};

// A stream of random ids that begins with id 1.
TokenStream RandomStream(size_t tokens, size_t vocab, uint64_t seed);

}  // namespace quantref::testing
