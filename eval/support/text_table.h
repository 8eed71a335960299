#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quantref {

// A table of plain text for a terminal: the first `left_columns` columns flush left, the others
// flush right. Widths count characters, not bytes.
std::string RenderTable(const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows, size_t left_columns);

// A column of a table that has to fit a line.
struct TextColumn {
  std::string name{};  // by which people ask for it; columns of one name stay and go together
  std::string header{};
  std::vector<std::string> cells{};
  bool left = false;    // flush left
  int worth = kNeeded;  // the least is left out first, what is needed never
  // Where there is little room: another header, other cells.
  std::optional<std::string> brief_header{};
  std::optional<std::vector<std::string>> brief_cells{};

  static constexpr int kNeeded = 1000;
};

// The table at a width: as many columns as fit, of these as many as fit in full. left_out: the
// names of the others.
struct FittedTable {
  std::string text;
  std::vector<std::string> left_out{};
};
FittedTable FitTable(std::vector<TextColumn> columns, std::optional<size_t> width);

// Of pairs: names, and beside each what it is, wrapped where lines hold so many characters; below
// each where the longest name leaves no room.
std::string RenderList(const std::vector<std::vector<std::string>>& entries,
                       std::optional<size_t> width);

size_t TextWidth(std::string_view text);  // characters of UTF-8

// The text, or its beginning and "…" in so many characters.
std::string Shortened(std::string_view text, size_t width);

// Lines longer than that go on below, further in; words stay whole where they can.
std::string Wrapped(const std::string& text, std::optional<size_t> width);

// How many decimals show two digits of a half width of an interval, for it and for its value;
// nothing where the interval has no width, or none that is finite.
std::optional<int> DecimalsOf(double half_width);

// Fit for a terminal and for XML: control characters but line ends, and bytes that are no UTF-8, as
// '?'.
std::string Printable(std::string text);

std::string WithThousands(size_t number);  // "362,319"

std::string Plural(size_t count, const std::string& noun);  // "1 cell", "1,234 cells"

}  // namespace quantref
