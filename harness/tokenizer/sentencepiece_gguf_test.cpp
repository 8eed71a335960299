#include "harness/tokenizer/sentencepiece_gguf.h"

#include <catch2/catch.hpp>
#include <string>

#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "harness/tokenizer/tokenizer.h"

namespace quantref {
namespace {

using testing::TempDir;

TEST_CASE("sentencepiece_gguf: as a GGUF vocabulary it makes the same tokens of a text") {
  const TempDir dir;
  testing::CopyTokenizer(dir.path());
  const auto file = dir / "tokenizer.model";
  const GgufVocabulary vocabulary = VocabularyOfSentencePiece(file);
  const Tokenizer own = Tokenizer::Load(file), found = Tokenizer::FromGguf(vocabulary, "made");
  CHECK(found.vocab_size() == own.vocab_size());
  CHECK(found.bos_id() == own.bos_id());
  CHECK(found.unknown_id() == own.unknown_id());
  CHECK(vocabulary.eos_id == 2u);
  const std::string text =
      testing::FileText(testing::SourceDir() / "eval/sample/sample.test.raw").substr(0, 20000);
  CHECK(found.Encode(text) == own.Encode(text));
}

TEST_CASE("sentencepiece_gguf: a model that changes white space is refused") {
  const TempDir dir;
  testing::WriteLetterTokenizer(dir.path());
  CHECK_ERROR(VocabularyOfSentencePiece(dir / "tokenizer.model"), "tokenizer.model",
              "other tokens");
}

}  // namespace
}  // namespace quantref
