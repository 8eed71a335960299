#include "harness/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include "harness/base/error.h"
#include "harness/io/foreign.h"
#include "harness/io/json_file.h"
#include "harness/io/json_reader.h"
#include "harness/tokenizer/bpe_builder.h"
#include "harness/tokenizer/json_node.h"
#include "harness/tokenizer/pipeline.h"
#include "harness/tokenizer/tokenizer_json_steps.h"
#include "harness/tokenizer/tokenizer_json_vocabulary.h"

namespace quantref {
namespace {

// What a post-processor puts before a text: nothing, or one token.
std::optional<uint32_t> BosOfTemplate(const JsonNode& node) {
  std::optional<uint32_t> bos;
  for (const JsonNode& item : node.Get("single").Items()) {
    const auto special = item.Find("SpecialToken");
    if (!special) break;  // the text
    const JsonNode name = special->Get("id");
    const std::vector<JsonNode> ids =
        node.Get("special_tokens").Get(name.Text()).Get("ids").Items();
    if (bos || ids.size() != 1) {
      node.Get("single").Fail("expected at most one token before the text, found more");
    }
    bos = ids[0].Id();
  }
  return bos;
}

std::optional<uint32_t> ReadBos(const JsonNode& node) {
  const JsonNode type = node.Get("type");
  const std::string name = type.Text();
  if (name == "ByteLevel") return std::nullopt;
  if (name == "TemplateProcessing") return BosOfTemplate(node);
  if (name != "Sequence") {
    type.Fail(Quoted(name) + " is not supported",
              "those that are: Sequence, TemplateProcessing, ByteLevel");
  }
  std::optional<uint32_t> bos;
  for (const JsonNode& one : node.Get("processors").Items()) {
    const auto found = ReadBos(one);
    if (found && bos) one.Fail("expected one step that adds BOS, found another");
    if (found) bos = found;
  }
  return bos;
}

struct Added {
  std::vector<AddedToken> raw, normalized;  // those that are cut out of text
  std::optional<uint32_t> bos;              // the one of that content
  uint32_t ids_end = 0, text_ids_end = 0;   // of all, and of those that are cut out
};

AddedToken ReadAddedToken(const JsonNode& node) {
  node.AllowOnly({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedToken token = {node.Get("content").Text(), node.Get("id").Id()};
  if (token.text.empty()) node.Get("content").Fail("expected text, found none");
  if (node.FlagOr("special", false)) return token;
  if (node.FlagOr("single_word", false))
    node.Get("single_word").Fail("true is not supported of a token that is not special");
  token.lstrip = node.FlagOr("lstrip", false);
  token.rstrip = node.FlagOr("rstrip", false);
  return token;
}

Added ReadAdded(const JsonNode& node, const BpeBuilder& builder,
                const std::optional<std::string>& bos_token) {
  Added added;
  std::unordered_set<std::string> texts;
  std::unordered_set<uint32_t> ids;
  for (const JsonNode& one : node.Items()) {
    AddedToken token = ReadAddedToken(one);
    const auto in_vocabulary = builder.Find(token.text);
    if (in_vocabulary && *in_vocabulary != token.id) {
      one.Get("id").Fail("expected " + std::to_string(*in_vocabulary) + " as in model.vocab");
    }
    if (!in_vocabulary && builder.HasId(token.id)) one.Get("id").Fail("is another token's");
    if (!texts.insert(token.text).second || !ids.insert(token.id).second) {
      one.Fail("is there twice: " + Quoted(token.text));
    }
    added.ids_end = std::max(added.ids_end, token.id + 1);
    if (token.text == bos_token) added.bos = token.id;
    if (one.FlagOr("special", false)) continue;
    added.text_ids_end = std::max(added.text_ids_end, token.id + 1);
    const bool normalized = one.FlagOr("normalized", true);
    (normalized ? added.normalized : added.raw).push_back(std::move(token));
  }
  // Hugging Face's library cuts the same white space out twice there.
  for (const std::vector<AddedToken>* tokens : {&added.raw, &added.normalized}) {
    if (std::ranges::any_of(*tokens, &AddedToken::rstrip) &&
        std::ranges::any_of(*tokens, BeginsWithSpace)) {
      node.Fail("rstrip beside a token that begins with white space is not supported");
    }
  }
  return added;
}

class TokenizerJsonReader {
 public:
  TokenizerJsonReader(const JsonNode& root, const std::string& path, const TokenizerConfig& config)
      : root_(root), path_(path), config_(config) {}

  Tokenizer Read(InputFile file) const {
    Pipeline pipeline;
    pipeline.path = path_;
    if (const auto node = root_.Find("normalizer")) pipeline.normalizer = ReadNormalizer(*node);
    PreTokenizer split;
    if (const auto node = root_.Find("pre_tokenizer"))
      split = ReadPreTokenizer(*node, pipeline.normalizer);
    pipeline.splits = std::move(split.steps);
    if (root_.Find("config") && !root_.Find("model")) {
      root_.Fail("expected a tokenizer.json, found a tekken.json, which is not supported");
    }
    const JsonNode model = root_.Get("model");
    CheckModel(model);
    BpeBuilder builder(ReadVocabulary(model.Get("vocab")),
                       split.byte_level ? TokenText::kAlphabet : TokenText::kCharacters, path_);
    ReadModel(model, builder);
    Added added;
    if (const auto node = root_.Find("added_tokens"))
      added = ReadAdded(*node, builder, config_.bos_token);
    for (AddedToken& token : added.normalized) {
      GrowthLimit limit(token.text.size(), pipeline.path);
      std::string made = Normalized(pipeline.normalizer, {token.text, {}, 0}, limit).text;
      if (made.empty()) {
        root_.Get("added_tokens").Fail(Quoted(token.text) + " becomes nothing by the normalizer");
      }
      token.text = std::move(made);
    }
    pipeline.added = AddedTokens(std::move(added.raw));
    pipeline.added_normalized = AddedTokens(std::move(added.normalized));
    TokenizerFacts facts;
    if (config_.bos_token && !added.bos)
      added.bos = BosIdOf(config_, builder.Find(*config_.bos_token));
    facts.kind = "BPE of tokenizer.json";
    facts.path = path_;
    facts.vocab_size = std::max(builder.ids_end(), added.ids_end);
    facts.text_ids_end = std::max(builder.ids_end(), added.text_ids_end);
    facts.sha256 = file.sha256();
    facts.files = {std::move(file)};
    pipeline.bpe = std::move(builder).Take();
    facts.unknown_id = pipeline.bpe.unknown;
    SetBos(added.bos, facts);
    return {std::move(facts), PipelineEncoder(std::move(pipeline))};
  }

 private:
  static void CheckModel(const JsonNode& model) {
    const auto type = model.Find("type");
    if (type && type->Text() != "BPE") {
      type->Fail(Quoted(type->Text()) + " is not supported", "only BPE is");
    }
    model.AllowOnly({"type", "dropout", "unk_token", "continuing_subword_prefix",
                     "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                     "merges"});
    if (const auto dropout = model.Find("dropout"); dropout && dropout->value().IsNumber()) {
      if (dropout->value().Number() != 0) dropout->Fail("dropout is not supported");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const auto affix = model.Find(key);
      if (affix && !affix->Text().empty()) affix->Fail("is not supported");
    }
  }

  static void ReadModel(const JsonNode& model, BpeBuilder& builder) {
    builder.MergeByList(ReadMerges(model.Get("merges")));
    if (model.FlagOr("ignore_merges", false)) builder.TakeWhole();
    if (model.FlagOr("byte_fallback", false)) builder.SpellByBytes();
    const auto unknown = model.Find("unk_token");
    builder.SetUnknown(unknown ? builder.Find(unknown->Text()) : std::nullopt,
                       model.FlagOr("fuse_unk", false));
  }

  void SetBos(std::optional<uint32_t> named, TokenizerFacts& facts) const {
    std::optional<uint32_t> put;
    if (const auto node = root_.Find("post_processor")) put = ReadBos(*node);
    if (put && *put >= facts.vocab_size) {
      root_.Get("post_processor").Fail("puts token " + std::to_string(*put) + ", which is none");
    }
    if (put && named && *put != *named) {
      root_.Get("post_processor")
          .Fail("puts token " + std::to_string(*put) + " before texts, tokenizer_config.json's " +
                "bos_token is " + std::to_string(*named));
    }
    facts.bos_id = put ? put : named;
    facts.adds_bos = config_.add_bos.value_or(put.has_value());
  }

  const JsonNode& root_;
  const std::string& path_;
  const TokenizerConfig& config_;
};

}  // namespace

Tokenizer TokenizerOfJson(FileContents file, const TokenizerConfig& config) {
  const std::string path = file.file.path().string();
  RefuseForeign(file.bytes, "a tokenizer.json", path);
  const JsonDocument document = JsonDocument::Parse(file.bytes, path);
  const JsonNode root(document.root(), "", path);
  return TokenizerJsonReader(root, path, config).Read(std::move(file.file));
}

}  // namespace quantref
