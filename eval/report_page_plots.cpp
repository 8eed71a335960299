#include "eval/report_page_plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <system_error>
#include <vector>

#include "eval/markup.h"
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

// "ppl_by-bits" as "ppl by bits".
std::string Title(const fs::path& file) {
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
    if (std::string_view(svg).substr(0, kPrologue).find("<svg") == std::string_view::npos)
      throw Error("expected an SVG image, found something else", file.string());
    const std::string title = MarkupText(Title(file));
    html += fmt::format(
        "<figure><img alt=\"{}\" src=\"data:image/svg+xml;base64,{}\"><figcaption>{}</figcaption>"
        "</figure>\n",
        title, Base64(svg), title);
  }
  return html + "</div>\n";
}

}  // namespace quantref
