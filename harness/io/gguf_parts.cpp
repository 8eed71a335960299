#include "harness/io/gguf_parts.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "harness/base/error.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDigits = 5;
constexpr size_t kMostParts = 10000;  // files that are open at once

// What "NAME-00001-of-00003.gguf" says.
struct PartName {
  std::string stem;  // "NAME"
  size_t number = 0, count = 0;
};

std::optional<size_t> FiveDigits(std::string_view text) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || text.size() != kDigits || text.front() == '+') return std::nullopt;
  return number;
}

std::optional<PartName> ParsePart(const fs::path& path) {
  constexpr std::string_view kOf = "-of-";
  constexpr size_t kTail = 1 + kDigits + kOf.size() + kDigits;  // "-00001-of-00003"
  const std::string stem = path.stem().string();
  if (path.extension() != kGgufSuffix || stem.size() <= kTail) return std::nullopt;
  const std::string_view tail = std::string_view(stem).substr(stem.size() - kTail);
  if (tail[0] != '-' || tail.substr(1 + kDigits, kOf.size()) != kOf) return std::nullopt;
  const auto number = FiveDigits(tail.substr(1, kDigits)),
             count = FiveDigits(tail.substr(kTail - kDigits));
  if (!number || !count || *number == 0 || *number > *count || *count > kMostParts)
    return std::nullopt;
  return PartName{stem.substr(0, stem.size() - kTail), *number, *count};
}

std::string Padded(size_t number) {
  const std::string digits = std::to_string(number);
  return std::string(kDigits - digits.size(), '0') + digits;
}

std::string FileNameOf(const PartName& part) {
  return part.stem + "-" + Padded(part.number) + "-of-" + Padded(part.count) + kGgufSuffix;
}

void CheckPart(const GgufFile& file, size_t index, size_t count) {
  const uint64_t stated = file.Count("split.count").value_or(1);
  const uint64_t number = file.Count("split.no").value_or(0);
  if (stated == count && number == index) return;
  throw Error("expected part " + std::to_string(index + 1) + " of " + std::to_string(count) +
                  ", as the file's name has it, found the keys of part " +
                  std::to_string(number + 1) + " of " + std::to_string(stated),
              file.path().string(),
              "parts of a split model are named NAME-00001-of-0000N.gguf and lie in one folder");
}

}  // namespace

std::vector<fs::path> GgufParts(const fs::path& path) {
  std::optional<PartName> part = ParsePart(path);
  if (!part) return {path};
  std::vector<fs::path> paths;
  for (part->number = 1; part->number <= part->count; ++part->number)
    paths.push_back(path.parent_path() / FileNameOf(*part));
  return paths;
}

std::vector<GgufFile> OpenGgufParts(const fs::path& path) {
  const std::vector<fs::path> paths = GgufParts(path);
  std::error_code ignored;
  for (const fs::path& part : paths) {
    if (paths.size() == 1 || fs::exists(part, ignored)) continue;
    throw Error("expected all parts of the model in one folder, found no " +
                    Quoted(part.filename().string()),
                path.string(), "download the missing file");
  }
  std::vector<GgufFile> files;
  files.reserve(paths.size());
  size_t tensors = 0;
  for (const fs::path& part : paths) {
    const GgufFile& file = files.emplace_back(GgufFile::Open(part));
    CheckPart(file, files.size() - 1, paths.size());
    tensors += file.tensors().size();
  }
  const uint64_t stated = files.front().Count("split.tensors.count").value_or(tensors);
  if (stated != tensors) {
    throw Error("expected the key split.tensors.count to be the number of tensors in all parts, " +
                    std::to_string(tensors) + ", found " + std::to_string(stated),
                path.string());
  }
  return files;
}

std::optional<fs::path> OneGgufModel(const fs::path& dir, const std::vector<std::string>& names) {
  std::vector<std::string> models;
  for (const std::string& name : names) {
    if (fs::path(name).extension() != kGgufSuffix) continue;
    const std::optional<PartName> part = ParsePart(name);
    if (!part || part->number == 1) models.push_back(name);
  }
  if (models.empty()) return std::nullopt;
  if (models.size() == 1) return dir / models.front();
  std::string list;
  for (const std::string& name : models) list += (list.empty() ? "" : ", ") + Quoted(name);
  throw Error("expected one model, found the GGUF files " + list, dir.string(),
              "give the path of the file");
}

}  // namespace quantref
