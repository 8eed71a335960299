#include "harness/tokenizer/sentencepiece_gguf.h"

#include <sentencepiece_processor.h>

#include <string>
#include <vector>

#include "harness/base/error.h"
#include "harness/io/file.h"
#include "harness/tokenizer/tokenizer.h"

namespace quantref {
namespace {

constexpr size_t kMaxModelBytes = size_t{64} << 20;
constexpr std::string_view kSpacePiece = "\xe2\x96\x81";

GgufTokenType TypeOfPiece(const sentencepiece::SentencePieceProcessor& model, int id) {
  if (model.IsUnknown(id)) return GgufTokenType::kUnknown;
  if (model.IsControl(id)) return GgufTokenType::kControl;
  if (model.IsByte(id)) return GgufTokenType::kByte;
  return model.IsUnused(id) ? GgufTokenType::kUnused : GgufTokenType::kNormal;
}

std::optional<uint32_t> IdOf(int id) {
  return id < 0 ? std::nullopt : std::optional(static_cast<uint32_t>(id));
}

// Text that normalizers, other merges and rules for white space make something else of.
constexpr char kProbe[] =
    "The quick  brown fox\n\n\tjumps over 12,345 lazy dogs.  \xef\xac\x81 \xe2\x91\xa0 "
    "\xef\xbc\xa1 caf\xc3\xa9 cafe\xcc\x81 \xc5\xbd\xc2\xbd antidisestablishmentarianism "
    "@-@ <unk> = Heading = \n internationally, unhappily ; it's \xe6\x97\xa5\xe6\x9c\xac ";

}  // namespace

GgufVocabulary VocabularyOfSentencePiece(const std::filesystem::path& file) {
  const Tokenizer own = Tokenizer::Load(file);  // which refuses what would harm the library
  sentencepiece::SentencePieceProcessor model;
  if (!model.LoadFromSerializedProto(ReadFile(file, kMaxModelBytes)).ok())
    throw Error("expected a SentencePiece model, found something else", file.string());
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.pre = "default";
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    vocabulary.tokens.push_back(model.IdToPiece(id));
    vocabulary.scores.push_back(model.GetScore(id));
    vocabulary.token_types.push_back(static_cast<int32_t>(TypeOfPiece(model, id)));
  }
  vocabulary.bos_id = IdOf(model.bos_id());
  vocabulary.eos_id = IdOf(model.eos_id());
  vocabulary.unknown_id = IdOf(model.unk_id());
  vocabulary.add_bos = own.adds_bos().value_or(true);
  std::vector<std::string> pieces;
  vocabulary.add_space_prefix =
      model.Encode("a", &pieces).ok() && !pieces.empty() && pieces.front().starts_with(kSpacePiece);
  const Tokenizer of_gguf = Tokenizer::FromGguf(vocabulary, file.string());
  if (of_gguf.Encode(kProbe) != own.Encode(kProbe)) {
    throw Error("GGUF's rules make other tokens of text than this SentencePiece model",
                file.string(), "it normalizes text, or is no model of byte pairs");
  }
  return vocabulary;
}

}  // namespace quantref
