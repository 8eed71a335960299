#include "eval/support/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "harness/base/check.h"
#include "harness/io/utf8.h"

namespace quantref {
namespace {

size_t WidthOf(const TextColumn& column) {
  size_t width = TextWidth(column.header);
  for (const std::string& cell : column.cells) width = std::max(width, TextWidth(cell));
  return width;
}

size_t WidthOf(const std::vector<TextColumn>& columns) {
  size_t width = 2 * (columns.size() - 1);
  for (const TextColumn& column : columns) width += WidthOf(column);
  return width;
}

void Abbreviate(TextColumn& column) {
  if (column.brief_header) column.header = *column.brief_header;
  if (column.brief_cells) column.cells = *column.brief_cells;
}

// Indices, those of least worth first; of equal worth the right one.
std::vector<size_t> ByWorth(const std::vector<TextColumn>& columns) {
  std::vector<size_t> order(columns.size());
  std::iota(order.rbegin(), order.rend(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return columns[a].worth < columns[b].worth; });
  return order;
}

// With as few abbreviations as it takes; all of them where nothing helps.
std::vector<TextColumn> Abbreviated(std::vector<TextColumn> columns, size_t width) {
  for (const size_t c : ByWorth(columns)) {
    if (WidthOf(columns) <= width) break;
    Abbreviate(columns[c]);
  }
  return columns;
}

// What cannot be left out: the texts of the widest column, down to a few letters each.
void Cut(std::vector<TextColumn>& columns, size_t width) {
  constexpr size_t kFewest = 8;
  const auto widest = std::max_element(
      columns.begin(), columns.end(), [](const TextColumn& a, const TextColumn& b) {
        return (a.left ? WidthOf(a) : 0) < (b.left ? WidthOf(b) : 0);
      });
  const size_t all = WidthOf(columns), own = WidthOf(*widest);
  if (all <= width || !widest->left) return;
  const size_t room = all - width < own ? own - (all - width) : 0;
  for (std::string& cell : widest->cells) cell = Shortened(cell, std::max(kFewest, room));
}

std::string Lines(const std::vector<TextColumn>& columns) {
  std::string table;
  std::vector<size_t> widths;
  for (const TextColumn& column : columns) widths.push_back(WidthOf(column));
  const auto append = [&](auto&& text_of) {
    std::string line;
    for (size_t c = 0; c < columns.size(); ++c) {
      const std::string& text = text_of(columns[c]);
      const std::string padding(widths[c] - TextWidth(text), ' ');
      line +=
          std::string(c == 0 ? 0 : 2, ' ') + (columns[c].left ? text + padding : padding + text);
    }
    table += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  };
  append([](const TextColumn& column) -> const std::string& { return column.header; });
  table += std::string(WidthOf(columns), '-') + "\n";
  for (size_t r = 0; r < columns[0].cells.size(); ++r)
    append([r](const TextColumn& column) -> const std::string& { return column.cells[r]; });
  return table;
}

// One line of `text`, in pieces of that width; all but the first begin with two spaces.
std::string WrappedLine(std::string_view text, size_t width) {
  std::string wrapped, line;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' ', 1), text.size());
    const std::string_view word = text.substr(0, end);
    const bool begins = line.find_first_not_of(' ') == std::string::npos;
    if (!begins && TextWidth(line) + TextWidth(word) > width) {
      wrapped += line + "\n";
      line = "  ";
      line += word.substr(std::min(word.find_first_not_of(' '), word.size()));
    } else {
      line += word;
    }
    text.remove_prefix(end);
  }
  return wrapped + line;
}

}  // namespace

size_t TextWidth(std::string_view text) {  // all bytes but the continuation ones
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string Shortened(std::string_view text, size_t width) {
  if (TextWidth(text) <= width) return std::string(text);
  if (width == 0) return "";
  size_t end = 0;
  for (size_t characters = 0; end < text.size(); ++end) {
    if ((text[end] & 0xc0) != 0x80 && characters++ == width - 1) break;
  }
  return std::string(text.substr(0, end)) + "…";
}

std::string Wrapped(const std::string& text, std::optional<size_t> width) {
  if (!width) return text;
  std::string wrapped;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    wrapped += WrappedLine(std::string_view(text).substr(at, end - at), *width);
    if (end < text.size()) wrapped += "\n";
    at = end + 1;
  }
  return wrapped;
}

std::optional<int> DecimalsOf(double half_width) {
  constexpr int kMost = 9;
  if (!std::isfinite(half_width) || half_width <= 0) return std::nullopt;
  const std::string rounded = fmt::format("{:.1e}", half_width);  // "9.9e-01"
  return std::clamp(1 - std::stoi(rounded.substr(rounded.find('e') + 1)), 0, kMost);
}

FittedTable FitTable(std::vector<TextColumn> columns, std::optional<size_t> width) {
  FittedTable table;
  for (const TextColumn& column : columns)
    QR_CHECK_EQ(column.cells.size(), columns[0].cells.size());
  std::vector<TextColumn> shown = width ? Abbreviated(columns, *width) : columns;
  while (width && WidthOf(shown) > *width) {
    const TextColumn& least = columns[ByWorth(columns)[0]];
    if (least.worth == TextColumn::kNeeded) break;
    table.left_out.push_back(least.name);
    std::erase_if(columns,
                  [&](const TextColumn& column) { return column.name == table.left_out.back(); });
    shown = Abbreviated(columns, *width);
  }
  if (width) Cut(shown, *width);
  table.text = Lines(shown);
  return table;
}

std::string RenderList(const std::vector<std::vector<std::string>>& entries,
                       std::optional<size_t> width) {
  constexpr size_t kLeast = 20, kIndent = 4;
  size_t names = 0;
  for (const auto& entry : entries) names = std::max(names, TextWidth(entry[0]));
  const bool beside = !width || *width >= names + 2 + kLeast;
  const std::string margin(beside ? names + 2 : kIndent, ' ');
  std::optional<size_t> room = width;
  if (room) room = std::max(kLeast, *room > margin.size() ? *room - margin.size() : 0);
  std::string text;
  for (const auto& entry : entries) {
    text += entry[0] + (beside ? margin.substr(TextWidth(entry[0])) : "\n" + margin);
    for (const char c : Wrapped(entry[1], room))
      text += c == '\n' ? "\n" + margin : std::string(1, c);
    text += "\n";
  }
  return text;
}

std::string RenderTable(const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows, size_t left_columns) {
  std::vector<TextColumn> columns;
  for (size_t c = 0; c < header.size(); ++c)
    columns.push_back({.header = header[c], .cells = {}, .left = c < left_columns});
  for (const std::vector<std::string>& row : rows) {
    QR_CHECK_EQ(row.size(), header.size());
    for (size_t c = 0; c < row.size(); ++c) columns[c].cells.push_back(row[c]);
  }
  return Lines(columns);
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

std::string Plural(size_t count, const std::string& noun) {
  return fmt::format("{} {}{}", WithThousands(count), noun, count == 1 ? "" : "s");
}

}  // namespace quantref
