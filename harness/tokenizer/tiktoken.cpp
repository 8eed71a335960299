#include "harness/tokenizer/tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <unordered_set>
#include <utility>

#include "harness/base/error.h"
#include "harness/io/json_file.h"
#include "harness/tokenizer/bpe_builder.h"
#include "harness/tokenizer/known_splits.h"
#include "harness/tokenizer/pipeline.h"

namespace quantref {
namespace {

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Control tokens stand behind the ranks: so many ids are there in all.
struct KnownVocabulary {
  uint32_t ranks, ids;
  std::string_view split, name;
  bool composes = false;        // text is brought to NFC first
  std::optional<uint32_t> bos;  // which texts begin with
};

constexpr std::array<KnownVocabulary, 6> kKnownVocabularies = {{
    {128000, 128256, "llama3", "Llama 3", false, 128000},
    {151643, 151851, "qwen2", "Qwen", true, std::nullopt},
    {248044, 248077, "qwen35", "Qwen3.5", true, std::nullopt},
    {50256, 50257, "gpt2", "r50k_base", false, std::nullopt},
    {100256, 100277, "cl100k", "cl100k_base", false, std::nullopt},
    {199998, 200019, "o200k", "o200k_base", false, std::nullopt},
}};

// Nothing where it is no base64 with all of its padding.
std::optional<std::string> Decoded(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_padding = i >= text.size() - padding;
    const size_t digit = is_padding ? 0 : kBase64.find(text[i]);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if (i % 4 != 3) continue;
    for (const int shift : {16, 8, 0}) bytes += static_cast<char>(bits >> shift & 0xff);
    bits = 0;
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

// "IQ== 0"
std::optional<FileToken> TokenOfLine(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const std::string_view digits = line.substr(space + 1);
  uint32_t rank = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  auto bytes = Decoded(line.substr(0, space));
  if (!bytes) return std::nullopt;
  return FileToken{std::move(*bytes), rank, -static_cast<float>(rank)};
}

std::vector<FileToken> ReadRanks(std::string_view contents, const std::string& path) {
  std::vector<FileToken> tokens;
  for (size_t line = 1; !contents.empty(); ++line) {
    const size_t end = std::min(contents.find('\n'), contents.size());
    const std::string_view text = contents.substr(0, end);
    contents.remove_prefix(std::min(end + 1, contents.size()));
    if (text.empty() && contents.empty()) break;
    auto token = TokenOfLine(text);
    if (!token) {
      throw Error("line " + std::to_string(line) +
                      ": expected a token in base64 and its rank, found " + Quoted(text),
                  path);
    }
    tokens.push_back(std::move(*token));
  }
  return tokens;
}

const KnownVocabulary& Recognize(size_t ranks, const std::string& path) {
  std::string names;
  for (const KnownVocabulary& known : kKnownVocabularies) {
    if (known.ranks == ranks) return known;
    names += (names.empty() ? "" : ", ") + std::string(known.name) + " (" +
             std::to_string(known.ranks) + ")";
  }
  throw Error("found a tiktoken vocabulary of " + std::to_string(ranks) +
                  " ranks, and how it splits text is not known",
              path, "those that are: " + names + "; a tokenizer.json says it");
}

}  // namespace

bool LooksLikeTiktoken(std::string_view contents) {
  constexpr int kLines = 3;
  for (int i = 0; i < kLines; ++i) {
    const size_t end = contents.find('\n');
    if (end == std::string_view::npos || !TokenOfLine(contents.substr(0, end))) return false;
    contents.remove_prefix(end + 1);
  }
  return true;
}

Tokenizer TiktokenTokenizer(FileContents file, const TokenizerConfig& config) {
  const std::string path = file.file.path().string();
  std::vector<FileToken> tokens = ReadRanks(file.bytes, path);
  const KnownVocabulary& known = Recognize(tokens.size(), path);
  BpeBuilder builder(std::move(tokens), TokenText::kBytes, path);
  if (builder.ids_end() != known.ranks) {
    throw Error("expected the ranks below " + std::to_string(known.ranks) + ", found " +
                    std::to_string(builder.ids_end() - 1),
                path);
  }
  builder.MergeByScore();
  builder.TakeWhole();
  Pipeline pipeline;
  pipeline.path = path;
  if (known.composes) pipeline.normalizer.emplace_back(ComposeText{});
  pipeline.splits = SplitOfVocabulary(known.split);
  pipeline.bpe = std::move(builder).Take();
  TokenizerFacts facts;
  facts.kind = "tiktoken, as " + std::string(known.name);
  facts.path = path;
  facts.vocab_size = known.ids;
  facts.text_ids_end = known.ranks;
  facts.bos_id = known.bos;
  facts.adds_bos = config.add_bos.value_or(known.bos.has_value());
  facts.sha256 = file.file.sha256();
  facts.files = {std::move(file.file)};
  return {std::move(facts), PipelineEncoder(std::move(pipeline))};
}

}  // namespace quantref
