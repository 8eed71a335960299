#include <catch2/catch.hpp>
#include <limits>
#include <string>
#include <vector>

#include "harness/base/error.h"
#include "harness/testing/testing.h"
#include "harness/tokenizer/tokenizer.h"

namespace quantref {
namespace {

using Ids = std::vector<uint32_t>;

// As LLaMA 2's, of a few letters: pairs of tokens merge by score, bytes spell what has none.
GgufVocabulary Scored() {
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  const auto add = [&](const std::string& token, float score, int32_t type) {
    vocabulary.tokens.push_back(token);
    vocabulary.scores.push_back(score);
    vocabulary.token_types.push_back(type);
  };
  add("<unk>", 0, 2);
  add("<s>", 0, 3);
  add("[x]", 0, 4);
  add("\xe2\x96\x81", -4, 1);  // 3: the mark
  add("a", -5, 1);             // 4
  add("b", -6, 1);             // 5
  add("ab", -1, 1);            // 6
  add("\xe2\x96\x81"
      "ab",
      -2, 1);        // 7
  add("ba", -1, 1);  // 8: as good as "ab"
  const char* digits = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {  // from 9 on
    add(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", 0, 6);
  }
  vocabulary.bos_id = 1;
  vocabulary.unknown_id = 0;
  return vocabulary;
}

// As GPT-2's; U+0120 is a space.
GgufVocabulary Listed() {
  GgufVocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = "smollm";
  vocabulary.tokens = {"<|end|>",
                       "a",
                       "b",
                       "\xc4\xa0",
                       "1",
                       "ab",
                       "\xc4\xa0"
                       "a",
                       "aab",
                       "<pad>"};
  vocabulary.token_types = {3, 1, 1, 1, 1, 1, 1, 1, 4};
  vocabulary.merges = {"a b", "\xc4\xa0 a", "a ab"};
  return vocabulary;
}

Ids Encoded(const GgufVocabulary& vocabulary, const std::string& text) {
  return Tokenizer::FromGguf(vocabulary, "m.gguf").Encode(text);
}

TEST_CASE("GGUF tokenizer: of equal scores the leftmost pair merges, a space goes before text") {
  CHECK(Encoded(Scored(), "aba") == Ids{7, 4});
  CHECK(Encoded(Scored(), "bab") == Ids{3, 8, 5});
  CHECK(Encoded(Scored(), " ab") == Ids{3, 7});
  GgufVocabulary bare = Scored();
  bare.add_space_prefix = false;
  CHECK(Encoded(bare, "aba") == Ids{6, 4});
  CHECK(Encoded(bare, "").empty());
}

TEST_CASE("GGUF tokenizer: bytes spell what has no token, and each stands for its own") {
  const auto placed = Tokenizer::FromGguf(Scored(), "m.gguf")
                          .EncodePlaced(
                              "a\xc3\xa9"
                              "b");
  CHECK(placed.ids == Ids{3, 4, 9 + 0xc3, 9 + 0xa9, 5});
  CHECK(placed.begins == Ids{0, 0, 1, 2, 3});
}

TEST_CASE("GGUF tokenizer: user-defined tokens are cut out, control tokens and bytes are not") {
  CHECK(Encoded(Scored(), "a[x]a") == Ids{3, 4, 2, 3, 4});
  for (const uint32_t id : Encoded(Scored(), "<s><unk><0x41>")) CHECK(id >= 3);
  CHECK(Encoded(Scored(), "<s>").size() == 4);
}

TEST_CASE("GGUF tokenizer: merges by their list, within the pieces of the named split") {
  CHECK(Encoded(Listed(), "aab a11<pad>b") == Ids{7, 6, 4, 4, 8, 2});
  CHECK(Encoded(Listed(), "a b") == Ids{1, 3, 2});
  CHECK_ERROR(Encoded(Listed(), "c"), "m.gguf", "no token stands for \"c\"");
  CHECK_ERROR(Encoded(Listed(), "<|end|>"), "no token stands for");  // no text is a control token
}

TEST_CASE("GGUF tokenizer: BOS by the key, else by the kind") {
  const auto adds = [](const GgufVocabulary& vocabulary) {
    return Tokenizer::FromGguf(vocabulary, "m.gguf").adds_bos();
  };
  GgufVocabulary scored = Scored(), listed = Listed();
  CHECK(adds(scored) == true);
  CHECK(adds(listed) == false);
  listed.pre = "llama-bpe";
  CHECK(adds(listed) == true);
  scored.add_bos = listed.add_bos = false;
  CHECK(adds(scored) == false);
  CHECK(adds(listed) == false);
  CHECK(Tokenizer::FromGguf(scored, "m.gguf").bos_id() == 1u);
}

TEST_CASE("GGUF tokenizer: the hash is of the vocabulary") {
  const auto hash = [](const GgufVocabulary& vocabulary) {
    return Tokenizer::FromGguf(vocabulary, "m.gguf").sha256();
  };
  GgufVocabulary other = Scored();
  CHECK(hash(other) == hash(Scored()));
  other.tokens[4] = "c";
  CHECK(hash(other) != hash(Scored()));
}

TEST_CASE("GGUF tokenizer: what is not known or lies is refused by its key") {
  const auto refused = [](GgufVocabulary vocabulary, const auto& change) {
    change(vocabulary);
    return Tokenizer::FromGguf(vocabulary, "m.gguf").vocab_size();
  };
  using V = GgufVocabulary;
  CHECK_ERROR(refused(Scored(), [](V& v) { v.model = "t5"; }), "m.gguf", "tokenizer.ggml.model",
              "\"t5\" is not supported");
  CHECK_ERROR(refused(Listed(), [](V& v) { v.pre = "bloom"; }), "tokenizer.ggml.pre", "\"bloom\"",
              "qwen2");
  CHECK_ERROR(refused(Listed(), [](V& v) { v.pre.reset(); }), "tokenizer.ggml.pre is missing");
  CHECK_ERROR(refused(Scored(), [](V& v) { v.scores.pop_back(); }), "scores",
              "expected one a token");
  CHECK_ERROR(refused(Scored(), [](V& v) { v.scores.clear(); }), "scores", "found none");
  CHECK_ERROR(
      refused(Scored(), [](V& v) { v.scores[4] = std::numeric_limits<float>::quiet_NaN(); }),
      "score of token 4");
  CHECK_ERROR(refused(Scored(), [](V& v) { v.token_types[0] = 9; }), "token_type",
              "unknown type 9");
  CHECK_ERROR(refused(Scored(), [](V& v) { v.bos_id = 1000; }), "bos_token_id", "found 1000");
  CHECK_ERROR(refused(Scored(), [](V& v) { v.tokens[4] = "b"; }), "has the text of another one");
  CHECK_ERROR(refused(Scored(), [](V& v) { v.tokens[4] = "\xff"; }), "token 4", "is not UTF-8");
  CHECK_ERROR(refused(Scored(), [](V& v) { v.tokens[9] = "<0xZZ>"; }), "token 9 of a byte");
  CHECK_ERROR(refused(Listed(), [](V& v) { v.merges.clear(); }), "merges", "found none");
  CHECK_ERROR(refused(Listed(), [](V& v) { v.merges[0] = "ab"; }), "merges", "a space between");
  CHECK_ERROR(refused(Listed(), [](V& v) { v.merges[0] = "b a"; }), "merge 0",
              "expected a token of the vocabulary, found \"ba\"");
  CHECK_ERROR(refused(Listed(), [](V& v) { v.merges[1] = "a b"; }), "merge 1", "is there twice");
  CHECK_ERROR(refused(Listed(), [](V& v) { v.tokens.clear(); }), "expected tokens, found none");
}

}  // namespace
}  // namespace quantref
