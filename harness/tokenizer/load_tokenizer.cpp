// Which file of a folder is its tokenizer, and of which kind.
#include <algorithm>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

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

// Sorted; none where the folder cannot be listed, which whoever reads it finds out.
std::vector<fs::path> FilesEndingWith(const char* extension, const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().extension() == extension) files.push_back(entry->path());
  }
  std::ranges::sort(files);
  return files;
}

bool IsJsonFile(const FileContents& file) {
  return file.file.path().extension() == ".json" || IsJson(file.bytes);
}

bool IsTiktokenFile(const FileContents& file) {
  return file.file.path().extension() == ".tiktoken" || LooksLikeTiktoken(file.bytes);
}

Tokenizer LoadFile(const fs::path& path, const TokenizerConfig& config) {
  FileContents file = ReadTokenizerFile(path);
  if (IsJsonFile(file)) return TokenizerOfJson(std::move(file), config);
  if (IsTiktokenFile(file)) return TiktokenTokenizer(std::move(file), config);
  return SentencePieceTokenizer(std::move(file), config);
}

Tokenizer LoadVocabMerges(const fs::path& vocab, const TokenizerConfig& config) {
  const fs::path folder = vocab.parent_path(), added = folder / "added_tokens.json";
  if (IsPresent(added) && config.added.empty()) {
    throw Error(
        "added_tokens.json without added_tokens_decoder of tokenizer_config.json: which of "
        "its tokens are special is not known",
        added.string(), "save the tokenizer as tokenizer.json");
  }
  return VocabMergesTokenizer(ReadTokenizerFile(vocab), ReadTokenizerFile(folder / "merges.txt"),
                              config);
}

fs::path IfPresent(const fs::path& file) { return IsPresent(file) ? file : fs::path(); }

// tokenizer.json says how text is split, tiktoken's file of that name does not.
fs::path FindModel(const fs::path& folder) {
  const fs::path model = folder / "tokenizer.model";
  if (!IsPresent(model)) return {};
  const bool better =
      IsPresent(folder / "tokenizer.json") && LooksLikeTiktoken(ReadTokenizerFile(model).bytes);
  return better ? fs::path() : model;
}

fs::path FindJson(const fs::path& folder) { return IfPresent(folder / "tokenizer.json"); }

// NAME.tiktoken; Error for several.
fs::path FindTiktoken(const fs::path& folder) {
  const std::vector<fs::path> found = FilesEndingWith(".tiktoken", folder);
  if (found.size() > 1) {
    throw Error("expected one tiktoken file, found " + found[0].filename().string() + " and " +
                    found[1].filename().string(),
                folder.string());
  }
  return found.empty() ? fs::path() : found[0];
}

fs::path FindVocabMerges(const fs::path& folder) {
  return IsPresent(folder / "merges.txt") ? IfPresent(folder / "vocab.json") : fs::path();
}

// Where a model folder has a tokenizer: of several kinds the first is taken.
struct KindInFolder {
  const char* needs;                         // for messages
  fs::path (*find)(const fs::path& folder);  // empty where it is not there
  Tokenizer (*load)(const fs::path& file, const TokenizerConfig& config);
};
constexpr KindInFolder kKinds[] = {
    {"tokenizer.model", FindModel, LoadFile},
    {"tokenizer.json", FindJson, LoadFile},
    {"a tiktoken file", FindTiktoken, LoadFile},
    {"vocab.json with merges.txt", FindVocabMerges, LoadVocabMerges},
};

Tokenizer LoadFolder(const fs::path& folder, const TokenizerConfig& config) {
  std::string needs;
  for (const KindInFolder& kind : kKinds) {
    if (const fs::path file = kind.find(folder); !file.empty()) return kind.load(file, config);
    needs += (needs.empty() ? "" : ", ") + std::string(kind.needs);
  }
  throw Error("expected a tokenizer, found no such file", (folder / "tokenizer.model").string(),
              "a model folder needs one of: " + needs);
}

}  // namespace

std::vector<fs::path> TokenizerFilesIn(const fs::path& folder) {
  std::vector<fs::path> files = FilesEndingWith(".tiktoken", folder);
  for (const char* name :
       {"tokenizer.model", "tokenizer.json", "vocab.json", "merges.txt", "tekken.json",
        "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}) {
    if (IsPresent(folder / name)) files.push_back(folder / name);
  }
  return files;
}

Tokenizer Tokenizer::Load(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return LoadFolder(path, ReadTokenizerConfig(path));
  if (!IsPresent(path)) throw Error("expected a tokenizer, found no such file", path.string());
  return LoadFile(path, ReadTokenizerConfig(path.parent_path()));
}

}  // namespace quantref
