#include "harness/tokenizer/vocab_merges.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/json_file.h"
#include "harness/io/json_reader.h"
#include "harness/tokenizer/bpe_builder.h"
#include "harness/tokenizer/json_node.h"
#include "harness/tokenizer/known_splits.h"
#include "harness/tokenizer/pipeline.h"
#include "harness/tokenizer/tokenizer_json_vocabulary.h"

namespace quantref {
namespace {

struct KnownClass {
  std::string_view name, split;
  bool composes;  // text is brought to NFC first
};

constexpr std::array<KnownClass, 3> kKnownClasses = {{{"GPT2Tokenizer", "gpt2", false},
                                                      {"CodeGenTokenizer", "gpt2", false},
                                                      {"Qwen2Tokenizer", "qwen2", true}}};

const KnownClass& ClassOf(const TokenizerConfig& config) {
  std::string name = config.tokenizer_class.value_or("");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  std::string names;
  for (const KnownClass& known : kKnownClasses) {
    if (known.name == name) return known;
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  throw Error("tokenizer_class: expected what vocab.json and merges.txt are of, found " +
                  (name.empty() ? "none" : Quoted(name)),
              config.path, "those that are known: " + names + "; a tokenizer.json says all itself");
}

// "a b" a line, the first to merge first; the first line may be "#version: ...".
std::vector<TokenPair> MergesOfLines(std::string_view text, const std::string& path) {
  std::vector<TokenPair> merges;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    auto merge = SplitMerge(line);
    if (!merge) {
      throw Error("line " + std::to_string(number) +
                      ": expected two tokens with a space between, found " + Quoted(line),
                  path);
    }
    merges.push_back(std::move(*merge));
  }
  return merges;
}

}  // namespace

Tokenizer VocabMergesTokenizer(FileContents vocab, FileContents merges,
                               const TokenizerConfig& config) {
  const KnownClass& known = ClassOf(config);
  const std::string path = vocab.file.path().string();
  const JsonDocument document = JsonDocument::Parse(vocab.bytes, path);
  BpeBuilder builder(ReadVocabulary(JsonNode(document.root(), "", path)), TokenText::kAlphabet,
                     path);
  builder.MergeByList(MergesOfLines(merges.bytes, merges.file.path().string()));
  Pipeline pipeline;
  pipeline.path = path;
  if (known.composes) pipeline.normalizer.emplace_back(ComposeText{});
  if (config.add_prefix_space) pipeline.splits.emplace_back(PrefixSpace{});
  for (SplitStep& step : SplitOfVocabulary(known.split)) pipeline.splits.push_back(std::move(step));
  TokenizerFacts facts;
  facts.vocab_size = facts.text_ids_end = builder.ids_end();
  std::vector<AddedToken> cut;
  for (const TokenizerConfig::Added& token : config.added) {
    facts.vocab_size = std::max(facts.vocab_size, size_t{token.id} + 1);
    if (token.content == config.bos_token) facts.bos_id = token.id;
    if (token.special || token.content.empty()) continue;
    facts.text_ids_end = std::max(facts.text_ids_end, size_t{token.id} + 1);
    cut.push_back({token.content, token.id, token.lstrip, token.rstrip});
  }
  pipeline.added = AddedTokens(std::move(cut));
  if (config.bos_token && !facts.bos_id)
    facts.bos_id = BosIdOf(config, builder.Find(*config.bos_token));
  pipeline.bpe = std::move(builder).Take();
  facts.kind = "BPE of vocab.json and merges.txt, as " + std::string(known.name);
  facts.path = path;
  facts.adds_bos = config.add_bos.value_or(false);
  facts.sha256 = Sha256Hex(vocab.bytes + merges.bytes);
  facts.files = {std::move(vocab.file), std::move(merges.file)};
  return {std::move(facts), PipelineEncoder(std::move(pipeline))};
}

}  // namespace quantref
