// Which file of a folder is its tokenizer, and of which kind.
#include <system_error>
#include <utility>

#include "harness/base/error.h"
#include "harness/io/file.h"
#include "harness/tokenizer/sentencepiece.h"
#include "harness/tokenizer/tiktoken.h"
#include "harness/tokenizer/tokenizer.h"
#include "harness/tokenizer/tokenizer_config.h"
#include "harness/tokenizer/tokenizer_json.h"
#include "harness/tokenizer/vocab_merges.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = size_t{256} << 20;

FileContents ReadTokenizerFile(const fs::path& file) { return ReadInput(file, kMaxFileBytes); }

// Begins as a JSON object does; no SentencePiece model does so.
bool IsJson(std::string_view bytes) {
  const size_t brace = bytes.find_first_not_of(" \t\r\n");
  if (brace == std::string_view::npos || bytes[brace] != '{') return false;
  const size_t next = bytes.find_first_not_of(" \t\r\n", brace + 1);
  return next != std::string_view::npos && bytes[next] == '"';
}

// By what it holds.
Tokenizer TokenizerOfFile(FileContents file, const TokenizerConfig& config) {
  if (file.file.path().extension() == ".json" || IsJson(file.bytes))
    return TokenizerOfJson(std::move(file), config);
  if (file.file.path().extension() == ".tiktoken" || LooksLikeTiktoken(file.bytes))
    return TiktokenTokenizer(std::move(file), config);
  return SentencePieceTokenizer(std::move(file), config);
}

// NAME.tiktoken of the folder; Error for several.
fs::path TiktokenOf(const fs::path& folder) {
  fs::path found;
  std::error_code ignored;  // a folder that cannot be listed is found so by whoever reads it
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() != ".tiktoken") continue;
    if (!found.empty()) {
      throw Error("expected one tiktoken file, found " + found.filename().string() + " and " +
                      entry.path().filename().string(),
                  folder.string());
    }
    found = entry.path();
  }
  return found;
}

Tokenizer TokenizerOfVocabMerges(const fs::path& folder, const TokenizerConfig& config) {
  const fs::path added = folder / "added_tokens.json";
  if (IsPresent(added) && config.added.empty()) {
    throw Error(
        "added_tokens.json without added_tokens_decoder of tokenizer_config.json: which of "
        "its tokens are special is not known",
        added.string(), "save the tokenizer as tokenizer.json");
  }
  return VocabMergesTokenizer(ReadTokenizerFile(folder / "vocab.json"),
                              ReadTokenizerFile(folder / "merges.txt"), config);
}

Tokenizer TokenizerOfFolder(const fs::path& folder, const TokenizerConfig& config) {
  const fs::path model = folder / "tokenizer.model", json = folder / "tokenizer.json";
  if (IsPresent(model)) {
    FileContents file = ReadTokenizerFile(model);
    // tokenizer.json says how text is split, tiktoken's file does not.
    if (!IsPresent(json) || !LooksLikeTiktoken(file.bytes))
      return TokenizerOfFile(std::move(file), config);
  }
  if (IsPresent(json)) return TokenizerOfFile(ReadTokenizerFile(json), config);
  if (const fs::path ranks = TiktokenOf(folder); !ranks.empty())
    return TokenizerOfFile(ReadTokenizerFile(ranks), config);
  if (IsPresent(folder / "vocab.json") && IsPresent(folder / "merges.txt"))
    return TokenizerOfVocabMerges(folder, config);
  throw Error(
      "expected a tokenizer, found no such file", (folder / "tokenizer.model").string(),
      "a model folder needs tokenizer.model, tokenizer.json, a tiktoken file, or vocab.json "
      "with merges.txt");
}

}  // namespace

Tokenizer Tokenizer::Load(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return TokenizerOfFolder(path, ReadTokenizerConfig(path));
  if (!IsPresent(path)) throw Error("expected a tokenizer, found no such file", path.string());
  return TokenizerOfFile(ReadTokenizerFile(path), ReadTokenizerConfig(path.parent_path()));
}

}  // namespace quantref
