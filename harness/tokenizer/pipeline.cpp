#include "harness/tokenizer/pipeline.h"

#include <utility>

namespace quantref {
namespace {

// Encodes one text.
class PipelineRun {
 public:
  PipelineRun(const Pipeline& pipeline, const TracedText& text)
      : pipeline_(pipeline),
        text_(text),
        limit_(text.text.size(), pipeline.path),
        bpe_(pipeline.bpe, pipeline.path) {}

  PlacedTokens Encode() && {
    for (const AddedTokens::Stretch& stretch : pipeline_.added.Cut(text_.text)) {
      if (stretch.id) {
        Put(*stretch.id, text_.Origin(stretch.span.begin));
      } else {
        EncodeRaw(PartOf(text_, stretch.span), stretch.span.begin == 0);
      }
    }
    return std::move(placed_);
  }

 private:
  static TracedText PartOf(const TracedText& text, Span span) {
    TracedText part = {std::string(text.At(span)), {}, text.Origin(span.begin)};
    if (text.origins.empty()) return part;
    const auto at = [&](size_t byte) {
      return text.origins.begin() + static_cast<std::ptrdiff_t>(byte);
    };
    part.origins.assign(at(span.begin), at(span.end));
    return part;
  }

  void Put(uint32_t id, uint32_t begin) {
    placed_.ids.push_back(id);
    placed_.begins.push_back(begin);
  }

  void EncodeRaw(TracedText raw, bool first) {
    const TracedText text = Normalized(pipeline_.normalizer, std::move(raw), limit_);
    for (const AddedTokens::Stretch& stretch : pipeline_.added_normalized.Cut(text.text)) {
      if (stretch.id) {
        Put(*stretch.id, text.Origin(stretch.span.begin));
      } else {
        EncodePieces(PartOf(text, stretch.span), first && stretch.span.begin == 0);
      }
    }
  }

  void EncodePieces(TracedText text, bool first) {
    const Pieces pieces = SplitText(pipeline_.splits, std::move(text), first);
    for (const Span& piece : pieces.spans) {
      tokens_.clear();
      bpe_.Encode(pieces.text.At(piece), tokens_);
      size_t at = piece.begin;
      for (const Symbol& token : tokens_) {
        Put(token.id, pieces.text.Origin(at));
        at += token.bytes;
      }
    }
  }

  const Pipeline& pipeline_;
  const TracedText& text_;
  GrowthLimit limit_;
  BpeEncoder bpe_;
  std::vector<Symbol> tokens_;
  PlacedTokens placed_;
};

class Encoder final : public TextEncoder {
 public:
  explicit Encoder(Pipeline pipeline) : pipeline_(std::move(pipeline)) {}
  PlacedTokens Encode(std::string_view text) const override {
    return PipelineRun(pipeline_, AsUtf8(text)).Encode();
  }

 private:
  Pipeline pipeline_;
};

}  // namespace

std::shared_ptr<const TextEncoder> PipelineEncoder(Pipeline pipeline) {
  return std::make_shared<Encoder>(std::move(pipeline));
}

}  // namespace quantref
