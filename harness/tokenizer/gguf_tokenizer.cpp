#include <algorithm>
#include <bit>
#include <span>
#include <utility>

#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/json_file.h"
#include "harness/tokenizer/bpe_builder.h"
#include "harness/tokenizer/known_splits.h"
#include "harness/tokenizer/pipeline.h"
#include "harness/tokenizer/tokenizer.h"

namespace quantref {
namespace {

constexpr std::string_view kMark = "\xe2\x96\x81";  // SentencePiece's, for a space

// The keys, so that no two vocabularies are written alike.
std::string Written(const GgufVocabulary& vocabulary) {
  std::string text;
  const auto put = [&](std::string_view part) {
    text += std::to_string(part.size()) + ':';
    text += part;
  };
  const auto number = [&](int64_t value) { put(std::to_string(value)); };
  const auto optional = [&](const auto& value) { value ? number(*value) : put("none"); };
  put(vocabulary.model);
  put(vocabulary.pre.value_or("none"));
  number(static_cast<int64_t>(vocabulary.tokens.size()));
  for (const std::string& token : vocabulary.tokens) put(token);
  for (const float score : vocabulary.scores) number(std::bit_cast<int32_t>(score));
  for (const int32_t type : vocabulary.token_types) number(type);
  for (const std::string& merge : vocabulary.merges) put(merge);
  optional(vocabulary.bos_id);
  optional(vocabulary.unknown_id);
  optional(vocabulary.add_bos);
  optional(vocabulary.add_space_prefix);
  return text;
}

class GgufReader {
 public:
  GgufReader(const GgufVocabulary& vocabulary, const std::string& where)
      : vocabulary_(vocabulary), where_(where) {}

  Tokenizer Read() const {
    Check();
    Pipeline pipeline;
    pipeline.path = where_;
    pipeline.added = AddedTokens(UserDefined());
    bool adds_bos = false;
    if (vocabulary_.model == "gpt2") {
      adds_bos = ReadBytes(pipeline);
    } else {
      adds_bos = true;
      ReadMarked(pipeline);
    }
    TokenizerFacts facts;
    facts.kind = "GGUF " + vocabulary_.model;
    facts.path = where_;
    facts.vocab_size = facts.text_ids_end = vocabulary_.tokens.size();
    facts.bos_id = vocabulary_.bos_id;
    facts.unknown_id = pipeline.bpe.unknown;
    facts.adds_bos = vocabulary_.add_bos.value_or(adds_bos);
    facts.sha256 = Sha256Hex(Written(vocabulary_));
    return {std::move(facts), PipelineEncoder(std::move(pipeline))};
  }

 private:
  [[noreturn]] void Fail(const std::string& what, const std::string& hint = {}) const {
    throw Error(what, where_, hint);
  }

  void Check() const {
    const size_t tokens = vocabulary_.tokens.size();
    const std::string& model = vocabulary_.model;
    if (model != "llama" && model != "gpt2" && model != "gemma4") {
      Fail("tokenizer.ggml.model: " + Quoted(model) + " is not supported",
           "those that are: llama, gpt2, gemma4");
    }
    const auto check_size = [&](const char* key, size_t size) {
      if (size == 0 || size == tokens) return;
      Fail("tokenizer.ggml." + std::string(key) + ": expected one a token, " +
           std::to_string(tokens) + ", found " + std::to_string(size));
    };
    if (tokens == 0) Fail("tokenizer.ggml.tokens: expected tokens, found none");
    check_size("scores", vocabulary_.scores.size());
    check_size("token_type", vocabulary_.token_types.size());
    for (const int32_t type : vocabulary_.token_types) {
      if (type < 1 || type > 6)
        Fail("tokenizer.ggml.token_type: unknown type " + std::to_string(type));
    }
    const auto check_id = [&](const char* key, std::optional<uint32_t> id) {
      if (!id || *id < tokens) return;
      Fail("tokenizer.ggml." + std::string(key) + ": expected an id below " +
           std::to_string(tokens) + ", found " + std::to_string(*id));
    };
    check_id("bos_token_id", vocabulary_.bos_id);
    check_id("unknown_token_id", vocabulary_.unknown_id);
    if (model != "llama" && vocabulary_.merges.empty()) {
      Fail("tokenizer.ggml.merges: expected merges, found none");
    }
    if (model == "llama" && vocabulary_.scores.empty()) {
      Fail("tokenizer.ggml.scores: expected one a token, found none");
    }
  }

  GgufTokenType TypeOf(size_t id) const {
    return vocabulary_.token_types.empty()
               ? GgufTokenType::kNormal
               : static_cast<GgufTokenType>(vocabulary_.token_types[id]);
  }

  std::vector<AddedToken> UserDefined() const {
    std::vector<AddedToken> added;
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      if (TypeOf(id) == GgufTokenType::kUserDefined && !vocabulary_.tokens[id].empty()) {
        added.push_back({vocabulary_.tokens[id], static_cast<uint32_t>(id)});
      }
    }
    return added;
  }

  // Those that text may become.
  std::vector<FileToken> TextTokens() const {
    std::vector<FileToken> tokens;
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      const GgufTokenType type = TypeOf(id);
      if (type != GgufTokenType::kNormal && type != GgufTokenType::kUserDefined) continue;
      tokens.push_back({vocabulary_.tokens[id], static_cast<uint32_t>(id),
                        vocabulary_.scores.empty() ? 0 : vocabulary_.scores[id]});
    }
    return tokens;
  }

  std::vector<TokenPair> Merges() const {
    std::vector<TokenPair> merges;
    for (const std::string& merge : vocabulary_.merges) {
      const size_t space = merge.find(' ', 1);
      if (space == std::string::npos || space + 1 == merge.size()) {
        Fail("tokenizer.ggml.merges: expected two tokens with a space between, found " +
             Quoted(merge));
      }
      merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    }
    return merges;
  }

  // A vocabulary of bytes. Returns whether its kind adds BOS.
  bool ReadBytes(Pipeline& pipeline) const {
    if (!vocabulary_.pre) {
      Fail("tokenizer.ggml.pre is missing: how text is split is not known",
           "convert the model again, by a llama.cpp of May 2024 or later");
    }
    KnownSplit split = SplitOfGguf(*vocabulary_.pre, where_);
    pipeline.splits = std::move(split.steps);
    if (vocabulary_.add_space_prefix.value_or(false)) {
      Fail("tokenizer.ggml.add_space_prefix: true is not supported of gpt2");
    }
    BpeBuilder builder(TextTokens(), TokenText::kAlphabet, where_);
    builder.MergeByList(Merges());
    if (split.takes_whole) builder.TakeWhole();
    pipeline.bpe = std::move(builder).Take();
    return split.adds_bos;
  }

  // SentencePiece's ways: a mark for spaces, characters that no token has as their bytes.
  void ReadMarked(Pipeline& pipeline) const {
    const bool scored = vocabulary_.model == "llama";
    if (vocabulary_.add_space_prefix.value_or(scored)) {
      pipeline.normalizer.emplace_back(PrependText{" "});
    }
    pipeline.normalizer.emplace_back(ReplaceText{Pattern::Text(" "), std::string(kMark)});
    BpeBuilder builder(TextTokens(), TokenText::kCharacters, where_);
    if (scored) {
      builder.MergeByScore();
    } else {
      builder.MergeByList(Merges());
    }
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      if (TypeOf(id) != GgufTokenType::kByte) continue;
      builder.SpellByte(vocabulary_.tokens[id], static_cast<uint32_t>(id));
    }
    if (vocabulary_.token_types.empty()) builder.SpellByBytes();
    builder.SetUnknown(vocabulary_.unknown_id, true);
    pipeline.bpe = std::move(builder).Take();
  }

  const GgufVocabulary& vocabulary_;
  const std::string& where_;
};

}  // namespace

Tokenizer Tokenizer::FromGguf(const GgufVocabulary& vocabulary, const std::string& where) {
  return GgufReader(vocabulary, where).Read();
}

}  // namespace quantref
