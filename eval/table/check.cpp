#include "eval/table/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <system_error>

#include "harness/base/error.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostTableBytes = size_t{64} << 20;
constexpr size_t kMostShown = 8;         // lines of a difference
constexpr size_t kMostShownBytes = 300;  // of a line
constexpr size_t kIdDigits = 16;

std::vector<std::string_view> LinesOf(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string Cut(std::string_view line) {
  if (line.size() <= kMostShownBytes) return std::string(line);
  size_t end = kMostShownBytes;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xc0) == 0x80) --end;
  return std::string(line.substr(0, end)) + "...";
}

bool IsWordByte(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.';
}

bool IsHexDigit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

void RequireRecords(const std::string& text, const fs::path& path, const TableRecords& records) {
  for (const std::string& id : NamedRecords(text)) {
    if (std::binary_search(records.ids.begin(), records.ids.end(), id)) continue;
    // A CSV says whose speeds were timed together.
    if (std::binary_search(records.runs.begin(), records.runs.end(), id)) continue;
    throw Error(fmt::format("the table names record {}, which is not among the {} that the spec's "
                            "'records' finds",
                            id, records.ids.size()),
                path.string(), "bring the record back, or make the table anew with make_tables");
  }
}

}  // namespace

std::string ShortDiff(const std::string& old_text, const std::string& new_text) {
  if (old_text == new_text) return "";
  const std::vector<std::string_view> before = LinesOf(old_text), now = LinesOf(new_text);
  std::string diff;
  size_t differing = 0;
  for (size_t i = 0; i < std::max(before.size(), now.size()); ++i) {
    const bool old_line = i < before.size(), new_line = i < now.size();
    if (old_line && new_line && before[i] == now[i]) continue;
    if (++differing > kMostShown) continue;
    if (old_line) diff += fmt::format("{}: -{}\n", i + 1, Cut(before[i]));
    if (new_line) diff += fmt::format("{}: +{}\n", i + 1, Cut(now[i]));
  }
  if (differing == 0) return "the ends of the lines differ\n";
  if (differing > kMostShown) diff += fmt::format("and {} more lines\n", differing - kMostShown);
  return diff;
}

std::vector<std::string> NamedRecords(const std::string& text) {
  std::vector<std::string> ids;
  for (size_t at = 0; at < text.size();) {
    if (!IsWordByte(text[at])) {
      ++at;
      continue;
    }
    const auto begin = text.begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = std::find_if_not(begin, text.end(), IsWordByte);
    if (end - begin == kIdDigits && std::all_of(begin, end, IsHexDigit))
      ids.emplace_back(begin, end);
    at = static_cast<size_t>(end - text.begin());
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::string CheckOutputs(const TableSpec& spec, const TableRecords& records,
                         const std::vector<TableFormat>& formats,
                         const std::function<std::string(TableFormat)>& text_as) {
  std::string wrong;
  for (const TableFormat format : formats) {
    const fs::path& path = spec.outputs.at(format);
    std::error_code error;
    if (!fs::exists(path, error)) {
      wrong += fmt::format("{} is missing\n", path.string());
      continue;
    }
    const std::string committed = ReadFile(path, kMostTableBytes);
    RequireRecords(committed, path, records);
    const std::string diff = ShortDiff(committed, text_as(format));
    if (!diff.empty()) wrong += fmt::format("{} is out of date:\n{}", path.string(), diff);
  }
  return wrong;
}

}  // namespace quantref
