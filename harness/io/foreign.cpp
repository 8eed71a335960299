#include "harness/io/foreign.h"

#include <algorithm>
#include <cctype>

#include "harness/base/error.h"

namespace quantref {
namespace {

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
  return std::nullopt;
}

void RefuseForeign(std::string_view contents, std::string_view expected, const std::string& where) {
  if (const auto foreign = RecognizeForeign(contents))
    throw Error("expected " + std::string(expected) + ", found " + foreign->what, where,
                foreign->hint);
}

}  // namespace quantref
