#include "harness/tokenizer/tokenizer_json.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/io/file.h"
#include "harness/testing/testing.h"
#include "harness/tokenizer/tokenizer.h"
#include "harness/tokenizer/traced_text.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::TempDir;

// A tokenizer.json of a few letters, byte-level, with a token of its own that is not special.
Json SmallJson() {
  return Json::parse(R"({
    "added_tokens": [
      {"id": 6, "content": "<s>", "special": true, "normalized": false, "lstrip": true},
      {"id": 7, "content": "[x]", "special": false, "normalized": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false, "trim_offsets": true}]},
    "post_processor": null,
    "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": false,
      "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "\u0120": 4, "aab": 5},
      "merges": ["a b", "a ab"]}})");
}

Tokenizer LoadJson(const Json& json, const std::string& config = "") {
  const TempDir dir;
  testing::WriteFile(dir / "tokenizer.json", json.dump());
  if (!config.empty()) testing::WriteFile(dir / "tokenizer_config.json", config);
  return Tokenizer::Load(dir.path());
}

// With the value at a place (a JSON pointer) changed.
size_t LoadWith(const std::string& place, const Json& value) {
  Json json = SmallJson();
  json[Json::json_pointer(place)] = value;
  return LoadJson(json).vocab_size();
}

TEST_CASE("tokenizer.json: merges, unknown characters, added tokens that are not special") {
  const Tokenizer tokenizer = LoadJson(SmallJson());
  CHECK(tokenizer.vocab_size() == 8);
  CHECK(tokenizer.unknown_id() == 0u);
  CHECK(tokenizer.Encode("aab ab[x]b") == std::vector<uint32_t>{5, 4, 3, 7, 2});
  CHECK(tokenizer.Encode("a<s>") == std::vector<uint32_t>{1, 0, 0, 0});
  const Tokenizer::Placed placed = tokenizer.EncodePlaced("zz b");
  CHECK(placed.ids == std::vector<uint32_t>{0, 0, 4, 2});
  CHECK(placed.begins == std::vector<uint32_t>{0, 1, 2, 3});
}

TEST_CASE("tokenizer.json: added tokens may take the white space around them") {
  Json json = SmallJson();
  json["model"]["vocab"]["\u010a"] = 8;  // a line's end
  Json& token = json["added_tokens"][1];
  const std::string text = "a \n [x] \u00a0\u3000b [x][x] ";
  token["rstrip"] = true;  // as Phi-3 has </s>
  CHECK(LoadJson(json).Encode(text) == std::vector<uint32_t>{1, 4, 8, 4, 7, 2, 4, 7, 7});
  token["lstrip"] = true;
  CHECK(LoadJson(json).Encode(text) == std::vector<uint32_t>{1, 7, 2, 7, 7});
  token["rstrip"] = false;
  CHECK(LoadJson(json).Encode("b [x] [x]a") == std::vector<uint32_t>{2, 7, 7, 1});
  token["rstrip"] = true;
  json["added_tokens"].push_back({{"id", 9}, {"content", " y"}, {"normalized", false}});
  CHECK_ERROR(LoadJson(json), "added_tokens: rstrip beside a token that begins with white space");
}

TEST_CASE("tokenizer.json: merges may be pairs, and a piece that is a token be taken whole") {
  Json json = SmallJson();
  json["model"]["merges"] = Json::array({Json::array({"a", "b"})});
  CHECK(LoadJson(json).Encode("aab") == std::vector<uint32_t>{1, 3});
  json["model"]["ignore_merges"] = true;
  CHECK(LoadJson(json).Encode("aab") == std::vector<uint32_t>{5});
}

// Characters, of which those without a token are spelled by their bytes'; <0x00> is token 10.
Json FallbackJson() {
  Json json = Json::parse(R"({"model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
    "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 5}, "merges": ["a b"]}})");
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const std::string digits = "0123456789ABCDEF";
    json["model"]["vocab"][std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">"] =
        10 + byte;
  }
  return json;
}

TEST_CASE(
    "tokenizer.json: byte_fallback spells what has no token, and what it spells never merges") {
  CHECK(LoadJson(FallbackJson()).Encode("ab\u00e9z") ==
        std::vector<uint32_t>{5, 10 + 0xC3, 10 + 0xA9, 10 + 'z'});
  Json json = FallbackJson();
  json["model"]["vocab"].erase("<0x09>");
  CHECK_ERROR(LoadJson(json), "byte_fallback: expected a token of every byte", "byte 9");
  json["model"]["vocab"]["\t"] = 10 + '\t';  // as Gemma 1 and 2 have it
  CHECK(LoadJson(json).Encode("\tb") == std::vector<uint32_t>{10 + '\t', 2});
  json["model"]["vocab"].erase("<0xA9>");
  CHECK_ERROR(LoadJson(json), "byte_fallback: expected a token of every byte", "byte 169");
  for (const char* side : {"<0xC3>", "<unk>"}) {
    json = FallbackJson();
    json["model"]["vocab"][std::string("a") + side] = 6;
    json["model"]["merges"].push_back(std::string("a ") + side);
    CHECK_ERROR(LoadJson(json), "stands for what has no token: expected no merge of it");
  }
}

TEST_CASE("tokenizer.json: beside ByteLevel byte_fallback has nothing to spell") {
  Json json = SmallJson();
  json["model"]["byte_fallback"] = true;
  CHECK(LoadJson(json).Encode("aab") == std::vector<uint32_t>{5});
  json["model"]["vocab"]["<0x61>"] = 8;
  CHECK_ERROR(LoadJson(json), "byte_fallback: expected a token of every byte", "byte 0");
  for (uint32_t code = 33; code < 324; ++code) {  // the alphabet, and a few of no byte
    const std::string character = Utf8Of(code);
    if (!json["model"]["vocab"].contains(character)) json["model"]["vocab"][character] = code;
  }
  CHECK(LoadJson(json).Encode("aab") == std::vector<uint32_t>{5});
}

TEST_CASE("tokenizer.json: BOS by tokenizer_config.json, else by the post-processor") {
  const Json put = Json::parse(R"({"type": "Sequence", "processors": [
    {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
    {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
      {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}],
      "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [6], "tokens": ["<s>"]}}}]})");
  Json json = SmallJson();
  CHECK_FALSE(LoadJson(json).bos_id().has_value());
  CHECK(LoadJson(json).adds_bos() == false);
  CHECK(LoadJson(json, R"({"bos_token": "<s>"})").bos_id() == 6u);
  CHECK(LoadJson(json, R"({"bos_token": {"content": "<s>"}})").adds_bos() == false);
  CHECK(LoadJson(json, R"({"bos_token": "<s>", "add_bos_token": true})").adds_bos() == true);
  CHECK_ERROR(LoadJson(json, R"({"bos_token": "<bos>"})"), "tokenizer_config.json",
              "bos_token: \"<bos>\" is none of the tokenizer's tokens", "or null");
  json["post_processor"] = put;
  CHECK(LoadJson(json).bos_id() == 6u);
  CHECK(LoadJson(json).adds_bos() == true);
  CHECK(LoadJson(json, R"({"add_bos_token": false})").adds_bos() == false);
  CHECK_ERROR(LoadJson(json, R"({"bos_token": "a"})"), "post_processor", "puts token 6");
  json["post_processor"]["processors"][1]["special_tokens"]["<s>"]["ids"] = {9};
  CHECK_ERROR(LoadJson(json), "post_processor", "puts token 9, which is none");
  json["post_processor"]["processors"][1]["special_tokens"]["<s>"]["ids"] = {6, 6};
  CHECK_ERROR(LoadJson(json), "at most one token before the text");
  json["post_processor"] = {{"type", "BertProcessing"}};
  CHECK_ERROR(LoadJson(json), "post_processor.type", "\"BertProcessing\" is not supported");
}

TEST_CASE("tokenizer.json: what is not known is refused by its place") {
  CHECK_ERROR(LoadWith("/model/type", "Unigram"), "tokenizer.json", "model.type: \"Unigram\"");
  CHECK_ERROR(LoadWith("/model/dropout", 0.1), "model.dropout");
  CHECK_ERROR(LoadWith("/model/end_of_word_suffix", "</w>"), "model.end_of_word_suffix");
  CHECK_ERROR(LoadWith("/model/unheard_of", true), "model.unheard_of: is not known here");
  CHECK_ERROR(LoadWith("/normalizer", Json::parse(R"({"type": "Lowercase"})")), "normalizer.type",
              "\"Lowercase\" is not supported", "NFC");
  CHECK_ERROR(LoadWith("/pre_tokenizer/pretokenizers/0", Json::parse(R"({"type": "Bert"})")),
              "pre_tokenizer.pretokenizers[0].type", "\"Bert\"");
  CHECK_ERROR(LoadWith("/pre_tokenizer/pretokenizers/0/behavior", "Odd"),
              "pre_tokenizer.pretokenizers[0].behavior: \"Odd\"");
  CHECK_ERROR(LoadWith("/pre_tokenizer/pretokenizers/2", Json::parse(R"({"type": "Digits"})")),
              "pretokenizers[2]: a step behind ByteLevel");
  CHECK_ERROR(LoadWith("/pre_tokenizer/pretokenizers/0",
                       Json::parse(R"({"type": "Metaspace", "replacement": "  "})")),
              "pretokenizers[0].replacement: expected a character, found \"  \"");
  CHECK_ERROR(LoadWith("/added_tokens/1/single_word", true), "added_tokens[1].single_word");
  const auto replace = [](const Json& pattern) {
    return Json({{"type", "Replace"}, {"pattern", pattern}, {"content", ""}});
  };
  for (const Json& pattern :
       {Json({{"Regex", "a*"}}), Json({{"Regex", "(?<=a)"}}), Json({{"String", ""}})}) {
    CHECK_ERROR(LoadWith("/normalizer", replace(pattern)),
                "normalizer.pattern: a replacement where no text is");
  }
  Json json = SmallJson();
  json["normalizer"] = replace({{"String", "[x]"}});
  CHECK(LoadJson(json).Encode("[x]a") == std::vector<uint32_t>{7, 1});
  json["added_tokens"][1]["normalized"] = true;
  CHECK_ERROR(LoadJson(json), "added_tokens: \"[x]\" becomes nothing");
  json = SmallJson();
  json["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "a"}, {"prepend_scheme", "first"}};
  json["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "c"}}}, {"content", "b"}};
  CHECK(LoadJson(json).Encode("c") == std::vector<uint32_t>{3});
  for (const char* content : {"", "bb"}) {
    json["normalizer"]["content"] = content;
    CHECK_ERROR(LoadJson(json), "pre_tokenizer: prepend_scheme \"first\" behind a normalizer");
  }
  CHECK_ERROR(LoadJson(Json::parse(R"({"config": {}, "vocab": []})")), "tekken.json");
}

TEST_CASE("tokenizer.json: lies are found") {
  CHECK_ERROR(LoadWith("/model/merges/1", "a c"), "tokenizer.json",
              "merge 1: expected a token of the vocabulary, found \"ac\"");
  CHECK_ERROR(LoadWith("/model/merges/1", "a b"), "merge 1", "is there twice");
  CHECK_ERROR(LoadWith("/model/merges/1", "ab"), "model.merges[1]: expected two tokens");
  CHECK_ERROR(LoadWith("/model/merges/1", Json::array({"a", Json::array({"b"})})),
              "model.merges[1]");
  CHECK_ERROR(LoadWith("/model/merges/1", Json::array({"a", ""})), "model.merges[1]");
  CHECK_ERROR(LoadWith("/model/merges", 3), "model.merges: expected a list, found 3");
  CHECK_ERROR(LoadWith("/model/vocab/b", 1), "has the id of another one");
  CHECK_ERROR(LoadWith("/model/vocab/b", -1), "model.vocab.b: expected a token id, found -1");
  CHECK_ERROR(LoadWith("/model/vocab/b", uint64_t{1} << 40), "model.vocab.b");
  CHECK_ERROR(LoadWith("/model/vocab", Json::array()), "model.vocab: expected an object");
  CHECK_ERROR(LoadWith("/added_tokens/1/id", 3), "added_tokens[1].id: is another token's");
  CHECK_ERROR(LoadWith("/added_tokens/1/content", "ab"), "added_tokens[1].id: expected 3");
  CHECK_ERROR(LoadWith("/added_tokens/1/content", "<s>"), "added_tokens[1]", "is there twice");
  CHECK_ERROR(LoadWith("/added_tokens/1/content", ""), "added_tokens[1].content");
  CHECK_ERROR(LoadJson(Json::object()), "expected the key \"model\"");
}

TEST_CASE("tokenizer.json: patterns that do not compile, differ or backtrack without end") {
  const auto with = [](const std::string& pattern) {
    Json json = SmallJson();
    json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern;
    return LoadJson(json);
  };
  CHECK_ERROR(with("(a"), "tokenizer.json", "the pattern \"(a\" does not compile");
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"[a&&b]", "an intersection of classes"},
      {"[a[b]]", "a class within a class"},
      {"[\\W]", "\\W in a class"},
      {"(?m:a)", "flags beside i"},
      {"a(?i)b|C", "a flag that does not begin an alternative"},
      {"(a(?i)|b)", "a flag that does not begin an alternative"},
      {"(?|a|b)", "has (?|,"},
      {"(?C1)a", "has (?C,"},
      {"a{1,2}+", "{n,m}+"},
      {"a{2}?", "{n}?"},
      {"a{,2}", "{,n}"},
      {"\\h", "\\h"},
      {"[\\v]", "\\v"},
      {"\\pL", "\\p without braces"},
      {"\\xc3", "\\xc3"},
      {"\\303", "a backslash and several digits"},
      {"(?i:a|Ss)", "\"ss\" under the flag i"},
      {"(?i)\u00df", "letters beyond ASCII under the flag i"},
      {"(?i)i\\x{307}", "a code point under the flag i"},
      {"(?i)a\\x73s", "a code point under the flag i"},
      {"(?i)s(?:s)", "\"ss\" under the flag i"},
      {"(?i:(?:f){1}i)", "\"fi\" under the flag i"},
      {"a\\x", "\\x without digits"},
      {"\\cA", "\\c"},
      {"\\N{U+41}", "\\N"},
      {"(?#c)a", "has (?#,"},
      {"(?i)[\\w]", "\\w in a class under the flag i"},
      {"(?i)[\\p{Lu}]", "\\p in a class under the flag i"}};
  for (const auto& [pattern, reason] : refused) {
    INFO(pattern);
    CHECK_ERROR(with(pattern), "tokenizer.json", reason);
  }
  const Tokenizer endless = with("(a+)+$|(a|aa)+b|(a*)*c");
  CHECK_ERROR(endless.Encode(std::string(5000, 'a') + "!"), "tokenizer.json", "finds no end");
}

TEST_CASE("tokenizer.json: damaged files give an Error or work") {
  const TempDir dir;
  const std::string whole = SmallJson().dump();
  Rng rng(5);
  int worked = 0;
  for (int round = 0; round < 400; ++round) {
    std::string damaged = whole;
    for (uint64_t changes = 1 + rng.Below(3); changes > 0; --changes) {
      // What stands elsewhere in the file goes on parsing more often than random bytes.
      damaged[rng.Below(damaged.size())] = whole[rng.Below(whole.size())];
    }
    testing::WriteFile(dir / "tokenizer.json", damaged);
    try {
      worked += Tokenizer::Load(dir.path()).Encode("aab ab[x]b <s>\n12").empty() ? 0 : 1;
    } catch (const Error&) {
    }
  }
  CHECK(worked > 0);
  CHECK(worked < 400);
}

TEST_CASE("vocab.json with merges.txt: the ids of the tokenizer.json that says the same") {
  const auto data = testing::SourceDir() / "harness/tokenizer/testdata";
  const Json json = Json::parse(ReadFile(data / "gpt2.json", 1 << 20));
  const TempDir dir;
  std::string merges = "#version: 0.2\n";
  for (const Json& merge : json["model"]["merges"]) {
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  }
  testing::WriteFile(dir / "vocab.json", json["model"]["vocab"].dump());
  testing::WriteFile(dir / "merges.txt", merges);
  CHECK_ERROR(Tokenizer::Load(dir.path()), "tokenizer_config.json", "tokenizer_class",
              "GPT2Tokenizer");
  testing::WriteFile(dir / "tokenizer_config.json", R"({"tokenizer_class": "GPT2TokenizerFast",
    "bos_token": "<s>", "added_tokens_decoder": {
      "0": {"content": "<s>", "special": true}, "500": {"content": "[x]", "special": false}}})");
  const Tokenizer tokenizer = Tokenizer::Load(dir.path());
  CHECK(tokenizer.bos_id() == 0u);
  CHECK(tokenizer.adds_bos() == false);
  CHECK(tokenizer.vocab_size() == 501);
  CHECK(tokenizer.facts().files.size() == 2);
  const Tokenizer same = Tokenizer::Load(data / "gpt2.json");
  for (const char* text : {"Hello world's 12 <s>", "  a\n\nb ", "caf\xc3\xa9 \xe6\x97\xa5"}) {
    CHECK(tokenizer.Encode(text) == same.Encode(text));
  }
  CHECK(tokenizer.Encode("[x]") == std::vector<uint32_t>{500});
  testing::WriteFile(dir / "merges.txt", "a b c\n");
  CHECK_ERROR(Tokenizer::Load(dir.path()), "merges.txt", "line 1");
}

}  // namespace
}  // namespace quantref
