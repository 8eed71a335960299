#include "harness/tokenizer/tokenizer.h"

#include <limits>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/error.h"

namespace quantref {

Tokenizer::Tokenizer(TokenizerFacts facts, std::shared_ptr<const TextEncoder> encoder)
    : facts_(std::move(facts)), encoder_(std::move(encoder)) {}

std::vector<uint32_t> Tokenizer::Encode(std::string_view text) const {
  return EncodePlaced(text).ids;
}

Tokenizer::Placed Tokenizer::EncodePlaced(std::string_view text) const {
  static_assert(kMaxTextBytes < std::numeric_limits<int>::max(), "SentencePiece counts in int");
  if (text.size() > kMaxTextBytes) {
    throw Error("too much text to tokenize: expected at most " + std::to_string(kMaxTextBytes) +
                    " bytes, found " + std::to_string(text.size()),
                facts_.path);
  }
  Placed placed = encoder_->Encode(text);
  QR_DCHECK_EQ(placed.ids.size(), placed.begins.size());
  if (!placed.begins.empty()) placed.begins[0] = 0;
  return placed;
}

}  // namespace quantref
