#include "harness/tokenizer/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "harness/base/rng.h"
#include "harness/testing/testing.h"
#include "harness/tokenizer/tokenizer.h"

namespace quantref {
namespace {

// What the library makes of the whole text in one call.
void CheckAsWhole(const Tokenizer& tokenizer, const sentencepiece::SentencePieceProcessor& whole,
                  const std::string& text) {
  const Tokenizer::Placed placed = tokenizer.EncodePlaced(text);
  sentencepiece::ImmutableSentencePieceText encoded;
  REQUIRE(whole.Encode(text, encoded.mutable_proto()).ok());
  const auto pieces = encoded.pieces();
  REQUIRE(placed.ids.size() == pieces.size());
  size_t other_ids = 0, other_begins = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    other_ids += placed.ids[i] != pieces[i].id();
    const bool stands_for_text = pieces[i].begin() < pieces[i].end();
    other_begins += stands_for_text && placed.begins[i] != pieces[i].begin();
  }
  CHECK(other_ids == 0);
  CHECK(other_begins == 0);
}

TEST_CASE("sentencepiece: a long text has the pieces of the library's one call") {
  const auto folder = testing::ReferenceModel("wikilm-2m");
  const Tokenizer tokenizer = Tokenizer::Load(folder);
  sentencepiece::SentencePieceProcessor whole;
  REQUIRE(whole.Load((folder / "tokenizer.model").string()).ok());
  CheckAsWhole(tokenizer, whole,
               testing::FileText(testing::SourceDir() / "eval/sample/sample.test.raw"));
  // Spaces in a row, marks that are in the text, characters that no piece has, at any place.
  const std::vector<std::string> fragments = {" ",
                                              "  ",
                                              "   ",
                                              "\n",
                                              " \n ",
                                              "a",
                                              "the",
                                              "of",
                                              "word",
                                              "Q",
                                              "=",
                                              "@-@",
                                              "\xe2\x96\x81",
                                              "\xe2\x96\x81 ",
                                              " \xe2\x96\x81",
                                              "\xc3\xa9",
                                              "\xf0\x9f\x98\x80",
                                              "\xe4\xb8\xad",
                                              ".",
                                              ","};
  Rng rng(1);
  for (const size_t spaces : {size_t{1}, size_t{8}, size_t{40}}) {
    std::string text;
    while (text.size() < 60'000) {
      text += fragments[rng.Below(fragments.size())];
      if (rng.Below(spaces) == 0) text += ' ';
    }
    CheckAsWhole(tokenizer, whole, text);
    CheckAsWhole(tokenizer, whole, text + " ");
    CheckAsWhole(tokenizer, whole, " " + text);
  }
}

}  // namespace
}  // namespace quantref
