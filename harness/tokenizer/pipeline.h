#pragma once

#include <memory>
#include <string>
#include <vector>

#include "harness/tokenizer/added_tokens.h"
#include "harness/tokenizer/bpe.h"
#include "harness/tokenizer/normalizer.h"
#include "harness/tokenizer/splitter.h"
#include "harness/tokenizer/text_encoder.h"

namespace quantref {

// The steps of a tokenizer that is not SentencePiece's own: added tokens are cut out of the text,
// what lies between is normalized, added tokens that are looked for there are cut out of that, the
// rest is split into pieces, and a piece becomes tokens by BPE.
struct Pipeline {
  AddedTokens added;
  std::vector<NormalizerStep> normalizer;
  AddedTokens added_normalized;
  std::vector<SplitStep> splits;
  BpeVocabulary bpe;
  std::string path;  // for errors
};

std::shared_ptr<const TextEncoder> PipelineEncoder(Pipeline pipeline);

}  // namespace quantref
