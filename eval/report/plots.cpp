#include "eval/report/plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "eval/support/markup.h"
#include "harness/base/error.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostPlotBytes = size_t{16} << 20;
constexpr size_t kPrologue = 4096;  // <svg stands after the XML declaration and comments

std::vector<fs::path> SvgFiles(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.extension() == ".svg" && !path.filename().string().starts_with('.'))
      files.push_back(path);
  }
  if (error) throw Error("cannot be read: " + error.message(), folder.string(), "check the path");
  if (files.empty()) {
    throw Error("expected plots (*.svg), found none", folder.string(),
                "scripts/plots RECORDS --out DIR --formats svg makes them");
  }
  std::sort(files.begin(), files.end());
  return files;
}

void Replace(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// What the image says of itself; else "ppl_by-bits" as "ppl by bits".
std::string Title(const fs::path& file, std::string_view prologue) {
  constexpr std::string_view kBegin = "<title>", kEnd = "</title>";
  const size_t begin = prologue.find(kBegin), end = prologue.find(kEnd);
  if (begin != std::string_view::npos && end != std::string_view::npos && begin < end) {
    std::string title(prologue.substr(begin + kBegin.size(), end - begin - kBegin.size()));
    for (const auto& [escaped, sign] : {std::pair{"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}})
      Replace(title, escaped, sign);
    return title;
  }
  std::string title = file.stem().string();
  std::replace_if(
      title.begin(), title.end(), [](char c) { return c == '_' || c == '-'; }, ' ');
  return title;
}

}  // namespace

std::string PlotsHtml(const fs::path& folder) {
  std::string html = "<div class=\"plots\">\n";
  for (const fs::path& file : SvgFiles(folder)) {
    const std::string svg = ReadFile(file, kMostPlotBytes);
    const std::string_view prologue = std::string_view(svg).substr(0, kPrologue);
    if (prologue.find("<svg") == std::string_view::npos)
      throw Error("expected an SVG image, found something else", file.string());
    const std::string title = MarkupText(Title(file, prologue));
    html += fmt::format(
        "<figure><figcaption><b>{}</b></figcaption><img alt=\"{}\" "
        "src=\"data:image/svg+xml;base64,{}\"></figure>\n",
        title, title, Base64(svg));
  }
  return html + "</div>\n";
}

}  // namespace quantref
