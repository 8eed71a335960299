#include "harness/io/foreign.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "harness/base/error.h"

namespace quantref {
namespace {

bool IsBase64(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '+' || c == '/' || c == '=';
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// "IQ== 0": a token's bytes in base64 and its rank.
bool IsTiktokenLine(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space % 4 != 0) return false;
  const std::string_view token = line.substr(0, space), rank = line.substr(space + 1);
  return !rank.empty() && std::all_of(token.begin(), token.end(), IsBase64) &&
         std::all_of(rank.begin(), rank.end(), IsDigit);
}

bool IsTiktoken(std::string_view contents) {
  constexpr int kLines = 3;
  for (int i = 0; i < kLines; ++i) {
    const size_t end = contents.find('\n');
    if (end == std::string_view::npos || !IsTiktokenLine(contents.substr(0, end))) return false;
    contents.remove_prefix(end + 1);
  }
  return true;
}

bool StartsWithIgnoringCase(std::string_view text, std::string_view start) {
  return text.size() >= start.size() &&
         std::equal(start.begin(), start.end(), text.begin(), [](char a, char b) {
           return std::tolower(static_cast<unsigned char>(b)) == a;
         });
}

bool IsPage(std::string_view text) {
  return StartsWithIgnoringCase(text, "<!doctype html") || StartsWithIgnoringCase(text, "<html");
}

std::string_view WithoutSpace(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return text;
}

}  // namespace

std::optional<ForeignFile> RecognizeForeign(std::string_view contents) {
  using namespace std::string_view_literals;
  const std::string_view text = WithoutSpace(contents);
  if (contents.starts_with("version https://git-lfs"sv)) {
    return ForeignFile{"a Git LFS pointer to one", "fetch the file itself: git lfs pull"};
  }
  if (IsPage(text)) {
    return ForeignFile{"a web page (HTML)",
                       "the download may have needed a login or a licence: download it again"};
  }
  if (contents.starts_with("GGUF"sv)) {
    return ForeignFile{"a GGUF file", "a model in GGUF is given by the path of its .gguf file"};
  }
  if (contents.starts_with("PK\3\4"sv)) {
    return ForeignFile{"a ZIP archive, as PyTorch's pickled checkpoints are",
                       "convert the model to safetensors"};
  }
  if (contents.starts_with("\x1f\x8b"sv)) {
    return ForeignFile{"a gzip archive", "unpack it"};
  }
  if (IsTiktoken(contents)) {
    return ForeignFile{"a tiktoken vocabulary (byte-level BPE, as LLaMA 3 has it)",
                       "only SentencePiece tokenizers (tokenizer.model) are supported"};
  }
  return std::nullopt;
}

void RefuseForeign(std::string_view contents, std::string_view expected, const std::string& where) {
  if (const auto foreign = RecognizeForeign(contents))
    throw Error("expected " + std::string(expected) + ", found " + foreign->what, where,
                foreign->hint);
}

}  // namespace quantref
