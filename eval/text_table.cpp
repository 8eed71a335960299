#include "eval/text_table.h"

#include <algorithm>

#include "harness/base/check.h"
#include "harness/io/utf8.h"

namespace quantref {
namespace {

size_t Width(const std::string& text) {  // UTF-8 characters: all bytes but the continuation ones
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

std::string RenderTable(const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows, size_t left_columns) {
  std::vector<size_t> widths;
  for (const std::string& cell : header) widths.push_back(Width(cell));
  for (const std::vector<std::string>& row : rows) {
    QR_CHECK_EQ(row.size(), header.size());
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], Width(row[c]));
  }
  std::string table;
  const auto append = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string padding(widths[c] - Width(row[c]), ' ');
      line += std::string(c == 0 ? 0 : 2, ' ') +
              (c < left_columns ? row[c] + padding : padding + row[c]);
    }
    table += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  };
  append(header);
  size_t total = 2 * (widths.size() - 1);
  for (size_t width : widths) total += width;
  table += std::string(total, '-') + "\n";
  for (const std::vector<std::string>& row : rows) append(row);
  return table;
}

std::string Printable(std::string text) {
  while (const auto invalid = FindInvalidUtf8(text)) text[*invalid] = '?';
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return (static_cast<unsigned char>(c) < ' ' && c != '\n') || c == '\x7f'; },
      '?');
  return text;
}

std::string WithThousands(size_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

}  // namespace quantref
